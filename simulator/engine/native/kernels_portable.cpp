#include "kernels.h"

#include <utility>

namespace engine {
namespace {

#include "simd_portable.h"
#include "kernels_body.h"

}  // namespace

Kernels portable_kernels() { return make("portable", false); }

}  // namespace engine
