// Is this a build with a sanitizer, which takes time and memory of its own?
#pragma once

namespace lineq::test {

#if defined(__SANITIZE_ADDRESS__) || defined(LINEQ_TSAN)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace lineq::test
