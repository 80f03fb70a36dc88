#include "shm/data_types.h"

#include <array>

namespace lineq::shm {
namespace {

using enum ValueKind;

constexpr std::array<DataType, kDataTypes> kTypes{{
    // name              kind         array  additive local
    {"server_id", kS32, false, false, false},
    {"gpt0", kU32, false, false, false},
    {"gpc0", kU32, false, true, false},
    {"gpc0_rate", kRate, false, true, false},
    {"conn_cnt", kU32, false, true, false},
    {"conn_rate", kRate, false, true, false},
    {"conn_cur", kU32, false, true, true},
    {"sess_cnt", kU32, false, true, false},
    {"sess_rate", kRate, false, true, false},
    {"http_req_cnt", kU32, false, true, false},
    {"http_req_rate", kRate, false, true, false},
    {"http_err_cnt", kU32, false, true, false},
    {"http_err_rate", kRate, false, true, false},
    {"bytes_in_cnt", kU64, false, true, false},
    {"bytes_in_rate", kRate, false, true, false},
    {"bytes_out_cnt", kU64, false, true, false},
    {"bytes_out_rate", kRate, false, true, false},
    {"gpc1", kU32, false, true, false},
    {"gpc1_rate", kRate, false, true, false},
    {"server_key", kDictionary, false, false, false},
    {"http_fail_cnt", kU32, false, true, false},
    {"http_fail_rate", kRate, false, true, false},
    {"gpt", kU32, true, false, false},
    {"gpc", kU32, true, true, false},
    {"gpc_rate", kRate, true, true, false},
    {"glitch_cnt", kU32, false, true, false},
    {"glitch_rate", kRate, false, true, false},
}};

constexpr u64 counter_types() {
  u64 bits = 0;
  for (u32 bit = 0; bit < kDataTypes; ++bit) {
    const DataType& type = kTypes[bit];
    if (type.additive && !type.local && (type.kind == kU32 || type.kind == kU64)) {
      bits |= u64{1} << bit;
    }
  }
  return bits;
}

}  // namespace

const u64 kCounterTypes = counter_types();

std::span<const DataType> data_types() {
  return kTypes;
}

std::optional<u32> data_type_by_name(std::string_view name) {
  for (u32 bit = 0; bit < kDataTypes; ++bit) {
    if (kTypes[bit].name == name) {
      return bit;
    }
  }
  return std::nullopt;
}

bool known_key_type(u64 wire) {
  return wire == 2 || (wire >= 4 && wire <= 7);
}

std::string_view key_type_name(KeyType type) {
  switch (type) {
    case KeyType::kInteger:
      return "integer";
    case KeyType::kIp:
      return "ip";
    case KeyType::kIpv6:
      return "ipv6";
    case KeyType::kString:
      return "string";
    case KeyType::kBinary:
      return "binary";
  }
  return "unknown";
}

}  // namespace lineq::shm
