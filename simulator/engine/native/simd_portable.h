// Vectors of the compiler's own: SSE2 on any x86-64, NEON on arm64. 8 accumulators in a register, 4 membranes.
struct Simd {
    static constexpr int lanes = 8;
    static constexpr int half = 4;
    typedef int16_t I16 __attribute__((vector_size(16)));
    typedef int32_t I32 __attribute__((vector_size(16)));
    typedef int8_t I8 __attribute__((vector_size(8)));
    typedef int16_t I16Half __attribute__((vector_size(8)));
    typedef int32_t I32Half __attribute__((vector_size(8)));
    typedef double F64 __attribute__((vector_size(16)));
    using Mask = I32;

    template <class V, class P>
    static V read(const P* p) {
        V v;
        std::memcpy(&v, p, sizeof v);
        return v;
    }
    static I16 load16(const int8_t* p) { return __builtin_convertvector(read<I8>(p), I16); }
    static I16 load16(const int16_t* p) { return read<I16>(p); }
    static void store16(int16_t* p, I16 a) { std::memcpy(p, &a, sizeof a); }
    static I16 zero16() { return I16{}; }
    static I16 add16(I16 a, I16 b) { return a + b; }

    static I32 load32(const int16_t* p) { return __builtin_convertvector(read<I16Half>(p), I32); }
    static I32 load32(const int32_t* p) { return read<I32>(p); }
    static void store32(int32_t* p, I32 a) { std::memcpy(p, &a, sizeof a); }
    static I32 set32(int32_t x) { return I32{x, x, x, x}; }
    static I32 add32(I32 a, I32 b) { return a + b; }
    static I32 sub32(I32 a, I32 b) { return a - b; }
    static I32 mul32(I32 a, I32 b) { return a * b; }
    static I32 min32(I32 a, I32 b) { return pick(a > b, b, a); }
    static I32 max32(I32 a, I32 b) { return pick(a > b, a, b); }
    static I32 or32(I32 a, I32 b) { return a | b; }
    static I32 xor32(I32 a, I32 b) { return a ^ b; }
    static I32 left(I32 a, int by) { return (I32)((U32)a << (uint32_t)by); }
    static I32 right(I32 a, int by) { return a >> by; }
    static I32 sign(I32 a) { return a >> 31; }

    static Mask greater(I32 a, I32 b) { return a > b; }
    static Mask differs(I32 a, I32 b) { return a != b; }
    static Mask nonzero(I32 a) { return a != 0; }
    static Mask mask(uint32_t bits) {
        const I32 each = {1, 2, 4, 8};
        return (set32((int32_t)bits) & each) != 0;
    }
    static I32 count(I32 sums, Mask m) { return sums - m; }
    static uint32_t bits(Mask m) { return (m[0] & 1) | (m[1] & 2) | (m[2] & 4) | (m[3] & 8); }
    static I32 pick(Mask m, I32 yes, I32 no) { return (yes & m) | (no & ~m); }

    static F64 low(I32 a) { return F64{(double)a[0], (double)a[1]}; }
    static F64 high(I32 a) { return F64{(double)a[2], (double)a[3]}; }
    static I32 whole(F64 low, F64 high) { return I32{(int)low[0], (int)low[1], (int)high[0], (int)high[1]}; }
    static F64 load64(const double* p) { return read<F64>(p); }
    static F64 mul64(F64 a, F64 b) { return a * b; }
    static F64 floor64(F64 a) { return F64{std::floor(a[0]), std::floor(a[1])}; }
    static F64 add64(F64 a, double b) { return a + b; }

    static int indices(uint64_t word, int first, uint8_t* out) {
        uint8_t* at = out;
        for (int byte = 0; byte < 8; ++byte, word >>= 8) {
            uint64_t eight = byte_indices[word & 255] + 0x0101010101010101ull * (uint64_t)(first + 8 * byte);
            std::memcpy(at, &eight, 8);
            at += __builtin_popcount((unsigned)(word & 255));
        }
        return (int)(at - out);
    }
    struct Tallies {
        uint8_t each[64];
    };
    static Tallies load(const uint8_t* p) { return read<Tallies>(p); }
    static void store(uint8_t* p, const Tallies& counters) { std::memcpy(p, &counters, sizeof counters); }
    static void tally(uint64_t word, Tallies& counters) {
        for (; word; word &= word - 1) ++counters.each[__builtin_ctzll(word)];
    }

private:
    typedef uint32_t U32 __attribute__((vector_size(16)));
};
