#include "shm/geometry.h"

#include <fmt/format.h>

namespace lineq::shm {

u32 TableDefinition::cells() const {
  u32 cells = 0;
  for (u32 bit = 0; bit < kDataTypes; ++bit) {
    if (has(bit)) {
      cells += wire_cells(data_type(bit).kind) * elements[bit];
    }
  }
  return cells;
}

namespace {

Status check(const TableDefinition& d) {
  const auto invalid = [&](std::string what) {
    return Error{ErrorCode::kInvalid, fmt::format("table {}: {}", d.name, what)};
  };
  if (d.name.empty() || d.name.size() > 255) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("table name of {} bytes (1 to 255 are allowed)", d.name.size())};
  }
  const u32 fixed = d.key_type == KeyType::kInteger || d.key_type == KeyType::kIp ? 4
                    : d.key_type == KeyType::kIpv6                                ? 16
                                                                                  : 0;
  if (fixed != 0 && d.key_bytes != fixed) {
    return invalid(fmt::format("key length {} with type {} (must be {})", d.key_bytes,
                               key_type_name(d.key_type), fixed));
  }
  if (d.key_bytes == 0 || (d.key_type == KeyType::kString && d.key_bytes < 2)) {
    return invalid(
        fmt::format("key length {} with type {}", d.key_bytes, key_type_name(d.key_type)));
  }
  for (u32 bit = 0; bit < kDataTypes; ++bit) {
    if (!d.has(bit)) {
      continue;
    }
    const u32 most = data_type(bit).array ? kMaxElements : 1;
    if (d.elements[bit] < 1 || d.elements[bit] > most) {
      return invalid(fmt::format("{} elements of {} (1 to {} are allowed)", d.elements[bit],
                                 data_type(bit).name, most));
    }
  }
  return {};
}

}  // namespace

Result<Geometry> geometry_of(const TableDefinition& d, SlotForm form) {
  if (const Status status = check(d); !status) {
    return status.error();
  }
  if (form == SlotForm::kTotals && (d.data_types & ~kCounterTypes) != 0) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("table {}: totals of columns that are no counters", d.name)};
  }
  Geometry g;
  g.form = form;
  u32 at = 16;
  if (form == SlotForm::kExtended) {
    g.ext_offset = 16;
    at += 16;
  }
  // 64-bit values first, so that everything is naturally aligned without holes.
  for (const bool wide : {true, false}) {
    for (u32 bit = 0; bit < kDataTypes; ++bit) {
      const ValueKind kind = data_type(bit).kind;
      if (!d.has(bit) || (kind == ValueKind::kU64 || form == SlotForm::kTotals) != wide) {
        continue;
      }
      g.offset[bit] = static_cast<u16>(at);
      at += d.elements[bit] * (wide ? 8U : 4U * wire_cells(kind));
    }
  }
  g.key_capacity = d.key_capacity();
  if (g.key_capacity > kMaxSlotBytes || at + g.key_capacity > kMaxSlotBytes) {
    return Error{ErrorCode::kInvalid, fmt::format("table {}: a row of {} bytes ({} are allowed)",
                                                  d.name, u64{at} + g.key_capacity, kMaxSlotBytes)};
  }
  g.key_offset = static_cast<u16>(at);
  g.used_bytes = (at + g.key_capacity + 7) / 8 * 8;
  // Fitting in one cache line is a prize; beyond that a straddled line is cheaper than padding.
  g.slot_bytes = g.used_bytes <= 32 ? 32 : g.used_bytes <= 64 ? 64 : (g.used_bytes + 15) / 16 * 16;
  return g;
}

}  // namespace lineq::shm
