// A sample through all nodes, and what its events met.
#include "network.h"

#include <algorithm>
#include <chrono>

namespace engine {

uint64_t byte_indices[256];

void fill_byte_indices() {
    for (int byte = 0; byte < 256; ++byte) {
        uint64_t packed = 0;
        for (int bit = 0, at = 0; bit < 8; ++bit)
            if (byte >> bit & 1) packed |= (uint64_t)bit << (8 * at++);
        byte_indices[byte] = packed;
    }
}

namespace {

template <class F>
void each_bit(const uint8_t* bits, int bytes, F&& f) {
    for (int from = 0; from < bytes; from += 8) {
        uint64_t word = 0;
        std::memcpy(&word, bits + from, std::min(8, bytes - from));
        for (; word; word &= word - 1) f(8 * from + __builtin_ctzll(word));
    }
}

void to_numbers(const Shape& s, const uint8_t* bits, int64_t* numbers) {
    std::fill(numbers, numbers + s.size(), 0);
    for (int p = 0; p < s.pixels; ++p)
        each_bit(bits + (int64_t)p * s.bytes, s.bytes, [&](int c) { numbers[(int64_t)c * s.pixels + p] = 1; });
}

void to_bits(const Shape& s, const int64_t* numbers, uint8_t* bits) {
    std::memset(bits, 0, (size_t)s.pixels * s.bytes);
    for (int c = 0; c < s.channels; ++c)
        for (int p = 0; p < s.pixels; ++p)
            bits[(int64_t)p * s.bytes + c / 8] |= (uint8_t)((numbers[(int64_t)c * s.pixels + p] != 0) << (c % 8));
}

}  // namespace

void Network::prepare(Work& w) const {
    const size_t n = nodes.size();
    if (w.bits.size() == n) return;
    w.bits.resize(n), w.numbers.resize(n), w.state.resize(n), w.membrane.resize(n);
    w.seen.resize(n), w.left.resize(n), w.seen_numbers.resize(n), w.left_numbers.resize(n);
    w.constant.assign(n, 0);
    w.counted.resize(n);
    for (const auto& node : nodes) {
        const Shape& s = node->shape;
        if (node->bits || node->makes_bits) w.bits[node->id].assign((size_t)steps * s.pixels * s.bytes + 64, 0);
        if (node->numbers || !node->makes_bits) w.numbers[node->id].assign((size_t)steps * s.size(), 0);
    }
}

// As many as share weights that would not stay in the cache, as long as they do not take much room themselves.
int Network::together() const {
    bool heavy = false;
    int64_t sample = 1;
    for (const auto& node : nodes) {
        const Shape& s = node->shape;
        if (node->bits || node->makes_bits) sample += (int64_t)steps * s.pixels * s.bytes;
        if (node->numbers || !node->makes_bits) sample += steps * s.size() * (int64_t)sizeof(int64_t);
        const auto* layer = dynamic_cast<const Layer*>(node.get());
        heavy = heavy || (layer && layer->shares());
    }
    return heavy ? (int)std::clamp<int64_t>((32 << 20) / sample, 1, 8) : 1;
}

void Node::run(const Network& net, Team& team, int from, int to) const {
    for (int k = 0; k < team.count; ++k) run_one(net, team[k], from, to);
}

void Network::run(Team& team, const std::vector<const int64_t*>& given, const std::vector<int>& given_steps,
                  bool stream) const {
    using Clock = std::chrono::steady_clock;
    Clock::time_point last;
    if (timing) team.elapsed.resize(nodes.size()), last = Clock::now();
    auto lap = [&](int id) {  // what happened since the last lap was for this node
        if (!timing) return;
        const Clock::time_point now = Clock::now();
        team.elapsed[id] += std::chrono::duration_cast<std::chrono::nanoseconds>(now - last).count();
        last = now;
    };
    for (int n = 0; n < team.count; ++n) {
        Work& w = team[n];
        prepare(w);
        for (auto& each : w.counted) each.fill(0);
        w.overflows = 0;
        if (!stream) w.running = false;
        if (!w.running)
            for (const auto& node : nodes) node->start(*this, w);
        for (size_t k = 0; k < inputs.size(); ++k) {
            const Node& node = *nodes[inputs[k]];
            const int64_t size = node.shape.size();
            const int64_t* first = given[k] + n * given_steps[k] * size;
            int64_t* into = w.numbers[node.id].data();
            bool same = true;
            for (int t = 0; t < steps; ++t) {
                const int64_t* x = first + (given_steps[k] == 1 ? 0 : t * size);
                std::copy(x, x + size, into + t * size);
                same = same && (t == 0 || std::equal(x, x + size, first));
            }
            w.constant[node.id] = same;
            lap(node.id);
        }
    }
    auto finish = [&](const Node& node, Work& w, int from, int to) {
        const Shape& s = node.shape;
        for (int t = from; t < to; ++t) {
            uint8_t* bits = w.bits[node.id].data() + (int64_t)t * s.pixels * s.bytes;
            int64_t* numbers = w.numbers[node.id].data() + t * s.size();
            if (node.makes_bits && node.numbers) to_numbers(s, bits, numbers);
            if (!node.makes_bits && node.bits) to_bits(s, numbers, bits);
        }
    };
    for (const Group& group : schedule) {
        const int stride = group.stepwise ? 1 : steps;
        for (int from = 0; from < steps; from += stride)
            for (int id : group.nodes) {
                nodes[id]->run(*this, team, from, from + stride);
                for (int n = 0; n < team.count; ++n) finish(*nodes[id], team[n], from, from + stride);
                lap(id);
            }
    }
    for (int n = 0; n < team.count; ++n) {
        for (const Fan& fan : fans) {
            meet(fan, team[n]);
            lap(fan.layer);
        }
        for (const auto& node : nodes) node->end(*this, team[n]);
        team[n].running = stream;
    }
}

// What the events met in layers whose synapses do not count.
void Network::meet(const Fan& fan, Work& w) const {
    const Node& source = *nodes[fan.source];
    const Shape& s = source.shape;
    int64_t met = 0, met_nonzero = 0;
    if (fan.uniform && !fan.stored[0]) return;
    if (fan.uniform && (source.makes_bits || source.bits)) {
        const int64_t fired = kernels.count(bits_of(w, fan.source, 0), (int64_t)steps * s.pixels * s.bytes);
        met = fired * fan.stored[0];
        met_nonzero = fired * fan.nonzero[0];
    } else if (source.makes_bits || source.bits) {
        for (int t = 0; t < steps; ++t)
            for (int p = 0; p < s.pixels; ++p)
                each_bit(bits_of(w, fan.source, t) + (int64_t)p * s.bytes, s.bytes, [&](int c) {
                    met += fan.stored[(int64_t)c * s.pixels + p];
                    met_nonzero += fan.nonzero[(int64_t)c * s.pixels + p];
                });
    } else {
        for (int t = 0; t < steps; ++t)
            for (int64_t e = 0; e < s.size(); ++e) {
                const int64_t value = w.numbers[fan.source][t * s.size() + e];
                const int64_t times = arithmetic.graded ? value != 0 : std::abs(value);
                met += times * fan.stored[e];
                met_nonzero += times * fan.nonzero[e];
            }
    }
    w.counted[fan.layer][sops] += met;
    w.counted[fan.layer][sops_nonzero] += met_nonzero;
}

}  // namespace engine
