// AVX2: 16 accumulators of 16 bits in a register, 8 membranes of 32 bits.
struct Simd {
    static constexpr int lanes = 16;
    static constexpr int half = 8;
    using I16 = __m256i;
    using I32 = __m256i;
    using F64 = __m256d;
    using Mask = __m256i;

    static I16 load16(const int8_t* p) { return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)p)); }
    static I16 load16(const int16_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
    static void store16(int16_t* p, I16 a) { _mm256_storeu_si256((__m256i*)p, a); }
    static I16 zero16() { return _mm256_setzero_si256(); }
    static I16 add16(I16 a, I16 b) { return _mm256_add_epi16(a, b); }

    static I32 load32(const int16_t* p) { return _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i*)p)); }
    static I32 load32(const int32_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
    static void store32(int32_t* p, I32 a) { _mm256_storeu_si256((__m256i*)p, a); }
    static I32 set32(int32_t x) { return _mm256_set1_epi32(x); }
    static I32 add32(I32 a, I32 b) { return _mm256_add_epi32(a, b); }
    static I32 sub32(I32 a, I32 b) { return _mm256_sub_epi32(a, b); }
    static I32 mul32(I32 a, I32 b) { return _mm256_mullo_epi32(a, b); }
    static I32 min32(I32 a, I32 b) { return _mm256_min_epi32(a, b); }
    static I32 max32(I32 a, I32 b) { return _mm256_max_epi32(a, b); }
    static I32 or32(I32 a, I32 b) { return _mm256_or_si256(a, b); }
    static I32 xor32(I32 a, I32 b) { return _mm256_xor_si256(a, b); }
    static I32 left(I32 a, int by) { return _mm256_sll_epi32(a, _mm_cvtsi32_si128(by)); }
    static I32 right(I32 a, int by) { return _mm256_sra_epi32(a, _mm_cvtsi32_si128(by)); }
    static I32 sign(I32 a) { return _mm256_srai_epi32(a, 31); }

    static Mask greater(I32 a, I32 b) { return _mm256_cmpgt_epi32(a, b); }
    static Mask differs(I32 a, I32 b) { return _mm256_xor_si256(_mm256_cmpeq_epi32(a, b), _mm256_set1_epi32(-1)); }
    static Mask nonzero(I32 a) { return differs(a, _mm256_setzero_si256()); }
    static Mask mask(uint32_t bits) {
        const __m256i each = _mm256_set_epi32(128, 64, 32, 16, 8, 4, 2, 1);
        return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), each), each);
    }
    static I32 count(I32 sums, Mask m) { return _mm256_sub_epi32(sums, m); }
    static uint32_t bits(Mask m) { return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(m)); }
    static I32 pick(Mask m, I32 yes, I32 no) { return _mm256_blendv_epi8(no, yes, m); }

    static F64 low(I32 a) { return _mm256_cvtepi32_pd(_mm256_castsi256_si128(a)); }
    static F64 high(I32 a) { return _mm256_cvtepi32_pd(_mm256_extracti128_si256(a, 1)); }
    static I32 whole(F64 low, F64 high) {
        return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm256_cvttpd_epi32(low)), _mm256_cvttpd_epi32(high), 1);
    }
    static F64 load64(const double* p) { return _mm256_loadu_pd(p); }
    static F64 mul64(F64 a, F64 b) { return _mm256_mul_pd(a, b); }
    static F64 floor64(F64 a) { return _mm256_floor_pd(a); }
    static F64 add64(F64 a, double b) { return _mm256_add_pd(a, _mm256_set1_pd(b)); }

    static int indices(uint64_t word, int first, uint8_t* out) {
        uint8_t* at = out;
        for (int byte = 0; byte < 8; ++byte, word >>= 8) {
            uint64_t eight = byte_indices[word & 255] + 0x0101010101010101ull * (uint64_t)(first + 8 * byte);
            std::memcpy(at, &eight, 8);
            at += _mm_popcnt_u32((uint32_t)(word & 255));
        }
        return (int)(at - out);
    }
    struct Tallies {
        __m256i part[2];
    };
    static Tallies load(const uint8_t* p) {
        return {{_mm256_loadu_si256((const __m256i*)p), _mm256_loadu_si256((const __m256i*)p + 1)}};
    }
    static void store(uint8_t* p, const Tallies& counters) {
        _mm256_storeu_si256((__m256i*)p, counters.part[0]);
        _mm256_storeu_si256((__m256i*)p + 1, counters.part[1]);
    }
    static void tally(uint64_t word, Tallies& counters) {
        const __m256i each = _mm256_set1_epi64x((long long)0x8040201008040201ull);
        const __m256i spread = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
        for (int part = 0; part < 2; ++part) {
            __m256i word32 = _mm256_set1_epi32((int)(word >> (32 * part)));
            __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(word32, spread), each), each);
            counters.part[part] = _mm256_sub_epi8(counters.part[part], set);
        }
    }
};
