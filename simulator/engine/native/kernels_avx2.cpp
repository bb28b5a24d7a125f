#include "kernels.h"

#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>

// Behind every header of the standard library, so that none of its functions is compiled for this set alone.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,bmi2,popcnt"))), apply_to = function)
#else
#pragma GCC target("avx2,bmi2,popcnt")
#endif

namespace engine {
namespace {

#include "simd_avx2.h"
#include "kernels_body.h"

}  // namespace

Kernels avx2_kernels() { return make("avx2", false); }

}  // namespace engine

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
