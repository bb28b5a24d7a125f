// AVX-512 (F, BW, DQ, VL, VBMI2): 32 accumulators of 16 bits in a register, 16 membranes of 32 bits.
struct Simd {
    static constexpr int lanes = 32;
    static constexpr int half = 16;
    using I16 = __m512i;
    using I32 = __m512i;
    using F64 = __m512d;
    using Mask = __mmask16;

    static I16 load16(const int8_t* p) { return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i*)p)); }
    static I16 load16(const int16_t* p) { return _mm512_loadu_si512(p); }
    static void store16(int16_t* p, I16 a) { _mm512_storeu_si512(p, a); }
    static I16 zero16() { return _mm512_setzero_si512(); }
    static I16 add16(I16 a, I16 b) { return _mm512_add_epi16(a, b); }

    static I32 load32(const int16_t* p) { return _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i*)p)); }
    static I32 load32(const int32_t* p) { return _mm512_loadu_si512(p); }
    static void store32(int32_t* p, I32 a) { _mm512_storeu_si512(p, a); }
    static I32 set32(int32_t x) { return _mm512_set1_epi32(x); }
    static I32 add32(I32 a, I32 b) { return _mm512_add_epi32(a, b); }
    static I32 sub32(I32 a, I32 b) { return _mm512_sub_epi32(a, b); }
    static I32 mul32(I32 a, I32 b) { return _mm512_mullo_epi32(a, b); }
    static I32 min32(I32 a, I32 b) { return _mm512_min_epi32(a, b); }
    static I32 max32(I32 a, I32 b) { return _mm512_max_epi32(a, b); }
    static I32 or32(I32 a, I32 b) { return _mm512_or_si512(a, b); }
    static I32 xor32(I32 a, I32 b) { return _mm512_xor_si512(a, b); }
    static I32 left(I32 a, int by) { return _mm512_sll_epi32(a, _mm_cvtsi32_si128(by)); }
    static I32 right(I32 a, int by) { return _mm512_sra_epi32(a, _mm_cvtsi32_si128(by)); }
    static I32 sign(I32 a) { return _mm512_srai_epi32(a, 31); }

    static Mask greater(I32 a, I32 b) { return _mm512_cmpgt_epi32_mask(a, b); }
    static Mask differs(I32 a, I32 b) { return _mm512_cmpneq_epi32_mask(a, b); }
    static Mask nonzero(I32 a) { return _mm512_test_epi32_mask(a, a); }
    static Mask mask(uint32_t bits) { return (Mask)bits; }
    static I32 count(I32 sums, Mask m) { return _mm512_mask_add_epi32(sums, m, sums, _mm512_set1_epi32(1)); }
    static uint32_t bits(Mask m) { return m; }
    static I32 pick(Mask m, I32 yes, I32 no) { return _mm512_mask_mov_epi32(no, m, yes); }

    static F64 low(I32 a) { return _mm512_cvtepi32_pd(_mm512_castsi512_si256(a)); }
    static F64 high(I32 a) { return _mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(a, 1)); }
    static I32 whole(F64 low, F64 high) {
        return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvttpd_epi32(low)), _mm512_cvttpd_epi32(high), 1);
    }
    static F64 load64(const double* p) { return _mm512_loadu_pd(p); }
    static F64 mul64(F64 a, F64 b) { return _mm512_mul_pd(a, b); }
    static F64 floor64(F64 a) { return _mm512_roundscale_pd(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
    static F64 add64(F64 a, double b) { return _mm512_add_pd(a, _mm512_set1_pd(b)); }

    // The indices of a word's bits, in order; at least 32 bytes are written, the number of bits is returned.
    static int indices(uint64_t word, int first, uint8_t* out) {
        const __m512i count = _mm512_set_epi8(
            63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39, 38, 37,
            36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10,
            9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        __m512i kept = _mm512_maskz_compress_epi8((__mmask64)word, count);
        kept = _mm512_add_epi8(kept, _mm512_set1_epi8((char)first));
        const int found = (int)_mm_popcnt_u64(word);
        _mm256_storeu_si256((__m256i*)out, _mm512_castsi512_si256(kept));
        if (found > 32) _mm256_storeu_si256((__m256i*)out + 1, _mm512_extracti64x4_epi64(kept, 1));
        return found;
    }
    // Adds each of a word's bits to a counter of its own.
    using Tallies = __m512i;
    static Tallies load(const uint8_t* p) { return _mm512_loadu_si512(p); }
    static void store(uint8_t* p, const Tallies& counters) { _mm512_storeu_si512(p, counters); }
    static void tally(uint64_t word, Tallies& counters) {
        counters = _mm512_mask_add_epi8(counters, (__mmask64)word, counters, _mm512_set1_epi8(1));
    }
};
