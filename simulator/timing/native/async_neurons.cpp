#include "async_neurons.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string_view>
#include <unordered_map>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace async_chip {
namespace {

constexpr size_t block = 64;

// Chosen when the module is loaded, where the compiler and the loader can.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define FOR_EACH_CPU __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EACH_CPU
#endif

FOR_EACH_CPU void add(int32_t* membranes, const Segment* segment, const Segment* end, const int32_t* weights) {
    for (; segment < end; ++segment) {
        int32_t* __restrict to = membranes + segment->target;
        const int32_t* __restrict from = weights + segment->weight;
        const int32_t count = segment->count;
        for (int32_t k = 0; k < count; ++k) to[k] += from[k];
    }
}

#ifdef __SSE2__
template <class Compare>
uint64_t mask_of(Compare&& compare) {
    uint64_t mask = 0;
    for (int part = 0; part < 4; ++part) {
        const __m128i low = _mm_packs_epi32(compare(16 * part), compare(16 * part + 4));
        const __m128i high = _mm_packs_epi32(compare(16 * part + 8), compare(16 * part + 12));
        mask |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_packs_epi16(low, high)) << (16 * part);
    }
    return mask;
}

__m128i load(const int32_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }

uint64_t above(const int32_t* values, const int32_t* thresholds) {
    return mask_of([&](int k) { return _mm_cmpgt_epi32(load(values + k), load(thresholds + k)); });
}

uint64_t not_zero(const int32_t* values) {
    return ~mask_of([&](int k) { return _mm_cmpeq_epi32(load(values + k), _mm_setzero_si128()); });
}
#else
uint64_t above(const int32_t* values, const int32_t* thresholds) {
    uint64_t mask = 0;
    for (size_t k = 0; k < block; ++k) mask |= (uint64_t)(values[k] > thresholds[k]) << k;
    return mask;
}

uint64_t not_zero(const int32_t* values) {
    uint64_t mask = 0;
    for (size_t k = 0; k < block; ++k) mask |= (uint64_t)(values[k] != 0) << k;
    return mask;
}
#endif

}  // namespace

Neurons::Neurons(const Network& network, const std::vector<int64_t>& bit)
    : blocks_((network.number.size() + block - 1) / block) {
    const size_t n = network.number.size(), padded = block * blocks_;
    membrane_ = network.start, threshold_ = network.threshold, bias_ = network.bias, reset_ = network.reset;
    subtracts_ = network.subtracts;
    membrane_.resize(padded), bias_.resize(padded), reset_.resize(padded), subtracts_.resize(padded);
    threshold_.resize(padded, std::numeric_limits<int32_t>::max());
    bit_.resize(n);
    for (size_t k = 0; k < n; ++k) {
        bit_[k] = bit[network.number[k]];
        if ((size_t)bit_[k] >= neuron_.size()) neuron_.resize((size_t)bit_[k] + 1);
        neuron_[bit_[k]] = (int32_t)k;
    }
    biased_.assign(blocks_, 0), touched_.assign(blocks_, 0), charged_.assign(blocks_, 0), shown_.assign(blocks_, 0);
    dirty_.assign((blocks_ + block - 1) / block, 0);
    for (size_t b = 0; b < blocks_; ++b) {
        biased_[b] = not_zero(&bias_[block * b]);
        charged_[b] = not_zero(&membrane_[block * b]);
        dirty_[b / block] |= (uint64_t)1 << (b % block);  // a membrane may start above its threshold
    }
    find_segments(network);
}

void Neurons::find_segments(const Network& network) {
    const size_t n = network.number.size();
    // Equal weights are kept once: most segments of a convolution are.
    std::unordered_map<std::string, int64_t> known;
    segment_first_.assign(1, 0);
    for (size_t k = 0; k < n; ++k) {
        const int64_t end = network.synapse_first[k + 1];
        for (int64_t s = network.synapse_first[k]; s < end;) {
            int64_t stop = s + 1;
            while (stop < end && network.target[stop] == network.target[stop - 1] + 1) ++stop;
            const size_t count = (size_t)(stop - s);
            std::string key(reinterpret_cast<const char*>(&network.weight[s]), count * sizeof(int32_t));
            const auto [found, is_new] = known.try_emplace(std::move(key), (int64_t)weights_.size());
            if (is_new) weights_.insert(weights_.end(), &network.weight[s], &network.weight[s] + count);
            segments_.push_back({network.target[s], (int32_t)count, found->second});
            s = stop;
        }
        segment_first_.push_back((int64_t)segments_.size());
    }
    segments_.shrink_to_fit(), weights_.shrink_to_fit();
}

void Neurons::step(uint64_t* fired, uint64_t* active) {
    for (size_t d = 0; d < dirty_.size(); ++d) {
        uint64_t again = 0;
        for (uint64_t left = dirty_[d]; left; left &= left - 1) {
            const size_t at = (size_t)__builtin_ctzll(left), b = block * d + at;
            int32_t* v = &membrane_[block * b];
            const uint64_t updated = charged_[b] | touched_[b] | biased_[b];
            if (biased_[b])
                for (size_t k = 0; k < block; ++k) v[k] += bias_[block * b + k];
            const uint64_t fire = above(v, &threshold_[block * b]);
            for (uint64_t f = fire; f; f &= f - 1) {
                const size_t k = block * b + (size_t)__builtin_ctzll(f);
                membrane_[k] = subtracts_[k] ? membrane_[k] - threshold_[k] : reset_[k];
                fired[bit_[k] / 64] |= (uint64_t)1 << (bit_[k] % 64);
            }
            charged_[b] = not_zero(v);
            touched_[b] = 0;
            for (uint64_t changed = updated ^ shown_[b]; changed; changed &= changed - 1) {
                const int64_t place = bit_[block * b + (size_t)__builtin_ctzll(changed)];
                active[place / 64] ^= (uint64_t)1 << (place % 64);
            }
            shown_[b] = updated;
            // It may fire again without an event, or count as active no longer.
            if (biased_[b] || fire || updated != charged_[b]) again |= (uint64_t)1 << at;
        }
        dirty_[d] = again;
    }
}

void Neurons::deliver(const std::vector<uint64_t>& fired) {
    // In the chip's order, in which neurons with the same weights tend to follow one another.
    for (size_t w = 0; w < fired.size(); ++w)
        for (uint64_t f = fired[w]; f; f &= f - 1) {
            const int32_t neuron = neuron_[64 * w + (size_t)__builtin_ctzll(f)];
            const Segment* segment = segments_.data() + segment_first_[neuron];
            const Segment* const end = segments_.data() + segment_first_[neuron + 1];
            add(membrane_.data(), segment, end, weights_.data());
            for (; segment < end; ++segment) {
                size_t b = (size_t)segment->target / block;
                int64_t low = segment->target % (int64_t)block, left = segment->count;
                for (; left > 0; ++b, left -= (int64_t)block - low, low = 0) {
                    const uint64_t bits = left >= (int64_t)block ? ~(uint64_t)0 : ((uint64_t)1 << left) - 1;
                    touched_[b] |= bits << low;
                    dirty_[b / block] |= (uint64_t)1 << (b % block);
                }
            }
        }
}

}  // namespace async_chip
