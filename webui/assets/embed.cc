// Build-time tool: embed OUT.cc FILE... writes the files as arrays of bytes for pages/assets.h.
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

namespace {

std::string base_name(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

// FNV-1a: tells one build's file from another's, nothing more.
std::uint64_t fingerprint(const std::string& bytes) {
  std::uint64_t h = 0xcbf29ce484222325;
  for (const char c : bytes) {
    h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return h;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: embed OUT.cc FILE...\n");
    return 1;
  }
  std::string arrays;
  std::string rows;
  for (int i = 2; i < argc; ++i) {
    std::ifstream in(argv[i], std::ios::binary);
    if (!in) {
      std::fprintf(stderr, "embed: cannot read %s\n", argv[i]);
      return 1;
    }
    const std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    const std::string number = std::to_string(i);
    arrays += "constexpr char k" + number + "[] = {";
    for (std::size_t b = 0; b < bytes.size(); ++b) {
      // char is signed on some machines.
      arrays += std::to_string(static_cast<int>(static_cast<signed char>(bytes[b])));
      arrays += b % 24 == 23 ? ",\n" : ",";
    }
    arrays += "};\n";
    char etag[32];
    std::snprintf(etag, sizeof etag, "%016llx",
                  static_cast<unsigned long long>(fingerprint(bytes)));
    rows.append(R"(    {")").append(base_name(argv[i])).append(R"(", {k)").append(number);
    rows.append(", sizeof k").append(number).append(R"(}, "\")").append(etag);
    rows.append(R"(\""},)").append("\n");
  }
  std::ofstream out(argv[1], std::ios::binary);
  out << "// Written by webui/assets/embed.cc.\n#include \"webui/pages/assets.h\"\n\n"
         "namespace lineq::pages {\nnamespace {\n\n"
      << arrays << "\nconstexpr Asset kAssets[] = {\n"
      << rows
      << "};\n\n}  // namespace\n\nstd::span<const Asset> assets() {\n  return kAssets;\n}\n\n"
         "}  // namespace lineq::pages\n";
  return out.good() ? 0 : 1;
}
