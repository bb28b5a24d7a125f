#include "network.h"

#include <algorithm>
#include <chrono>
#include <limits>

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

int64_t rounded(int64_t x, int by, int rounding) {  // x / 2**by
    if (by <= 0) return (int64_t)((uint64_t)x << -by);
    if (rounding == 0) return (x + (int64_t(1) << (by - 1))) >> by;
    if (rounding == 1) return x >> by;
    return x < 0 ? -(-x >> by) : x >> by;
}

int64_t held(int64_t x, int how, int64_t least, int64_t most, int64_t& overflows) {
    if (x >= least && x <= most) return x;
    ++overflows;
    const int64_t span = most - least + 1;
    if (how == 0) return x < least ? least : most;
    if (how == 1) {
        const int64_t rest = (x - least) % span;
        return (rest < 0 ? rest + span : rest) + least;
    }
    return x > most ? x - span : x + span;
}

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

template <class F>
void each_window(int64_t out, int64_t in, int kernel, int stride, int pad, int dilation, F&& f) {
    for (int k = 0; k < kernel; ++k) {
        const int64_t at = out * stride + (int64_t)k * dilation - pad;
        if (at >= 0 && at < in) f(k, at);
    }
}

}  // namespace

// -- layers -----------------------------------------------------------------------------------------------------------

void Layer::start(const Network& net, Work& w) const {
    if (fast) {
        if (keep) w.membrane[id].resize((size_t)shape.pixels * width + 64);
        return;
    }
    const int64_t size = shape.size();
    w.state[id].assign(fires ? 3 * size : size, 0);  // v, i, wait; or y
    if (fires)
        for (int64_t e = 0; e < size; ++e) w.state[id][e] = p_init[e];
    (void)net;
}

void Layer::run(const Network& net, Work& w, int from, int to) const {
    if (current >= 0) {
        update_any(net, w, -1, from, to, to - from);
        return;
    }
    bool constant = skips.empty();
    for (const Synapse& s : synapses) constant = constant && w.constant[s.source];
    const int frames = constant ? 1 : to - from;
    gather(net, w, from, frames, constant ? to - from : 1);
    for (int b = 0; b < blocks; ++b) {
        sum(net, w, b, frames);
        if (fast)
            update_fast(net, w, b, from, to, frames);
        else
            update_any(net, w, b, from, to, frames);
    }
    if (fast) {
        const int64_t step = (int64_t)shape.pixels * shape.bytes;
        w.counted[id][spikes] += net.kernels.count(net.bits_of(w, id, from), (to - from) * step);
    }
}

// The events of every synapse, as lists; what they meet is counted on the way, as often as each frame is used.
void Layer::gather(const Network& net, Work& w, int from, int frames, int uses) const {
    const int64_t frame = (int64_t)padded_rows * padded_columns * block;
    size_t used_lists = 0;
    for (const Synapse& s : synapses) {
        const Shape& source = net.nodes[s.source]->shape;
        Tally tally{};
        if (s.fan_class && !s.values) {
            w.counters.assign((size_t)s.fan_classes * s.channels + 64, 0);  // a part may start anywhere
            w.totals.assign((size_t)s.fan_classes * s.channels, 0);
            tally = Tally{s.fan_class, w.counters.data(), w.totals.data(), s.fan_classes, s.channels, 0};
        }
        const int count = s.class_start[s.classes];
        for (int part = 0; part < s.parts; ++part) {
            if (used_lists == w.lists.size()) w.lists.emplace_back();
            Work::List& list = w.lists[used_lists++];
            list.class_end.clear();
            const size_t most = (size_t)frames * count;
            if (list.units.size() < most) list.units.resize(most);
            const size_t room = most * (s.values ? s.part_bytes[part] : 8 * s.part_bytes[part]) + event_slack;
            if (list.events.size() < room) list.events.resize(room);
            if (s.values && list.values.size() < room) list.values.resize(room);
            int64_t units = 0;
            uint32_t used = 0;
            if (s.values) {
                const int first = s.part_first[part], until = first + s.part_bytes[part];
                for (int k = 0; k < s.classes; ++k) {
                    for (int t = 0; t < frames; ++t) {
                        const int64_t* x = w.numbers[s.source].data() + (from + t) * source.size();
                        for (int u = s.class_start[k]; u < s.class_start[k + 1]; ++u) {
                            const uint32_t start = used;
                            for (int c = first; c < until; ++c) {
                                const int64_t value = x[(int64_t)c * source.pixels + s.units[u]];
                                list.events[used] = (uint8_t)(c - first);
                                list.values[used] = (int32_t)value;
                                used += value != 0;
                            }
                            if (used != start)
                                list.units[units++] = Unit{start, used - start, (int32_t)(t * frame + s.places[u])};
                        }
                    }
                    list.class_end.push_back(units);
                }
                continue;
            }
            Decode d{};
            d.spikes = net.bits_of(w, s.source, from);
            d.step_bytes = (int64_t)source.pixels * source.bytes;
            d.steps = frames;
            d.unit_bytes = s.unit_bytes;
            d.first = s.part_first[part];
            d.bytes = s.part_bytes[part];
            d.frame = frame;
            for (int k = 0; k < s.classes; ++k) {
                d.units = s.units + s.class_start[k];
                d.places = s.places + s.class_start[k];
                d.count = s.class_start[k + 1] - s.class_start[k];
                units += net.kernels.decode(d, s.fan_class ? &tally : nullptr, list.events.data(), used,
                                            list.units.data() + units);
                list.class_end.push_back(units);
            }
        }
        if (tally.classes) {
            int64_t met = 0, met_nonzero = 0;
            net.kernels.met(tally, s.fan_stored, s.fan_nonzero, met, met_nonzero);
            w.counted[id][sops] += uses * met;
            w.counted[id][sops_nonzero] += uses * met_nonzero;
        }
    }
}

// All synapses of a block of channels, added up for all steps.
void Layer::sum(const Network& net, Work& w, int b, int frames) const {
    const size_t room = (size_t)frames * padded_rows * padded_columns * block + 2 * 64;
    bool narrow = false;
    for (const Synapse& s : synapses) narrow = narrow || !s.wide;
    if (narrow) {
        if (w.sums16.size() < room) w.sums16.resize(room);
        std::memset(w.sums16.data(), 0, room * sizeof(int16_t));
    }
    if (sums32) {
        if (w.sums32.size() < room) w.sums32.resize(room);
        std::memset(w.sums32.data(), 0, room * sizeof(int32_t));
    }
    const int64_t padded = (int64_t)(room - 128 + 63) / 64 * 64;
    size_t which = 0;
    for (const Synapse& s : synapses) {
        const int64_t* const tables = s.table_at + (int64_t)b * s.parts * s.table_chunks;
        const int64_t* const last_table = s.table_at + (int64_t)s.blocks * s.parts * s.table_chunks;
        const int64_t* at = tables;
        for (int part = 0; part < s.parts; ++part) {
            const Work::List& list = w.lists[which++];
            if (s.flush && s.flush[part]) net.kernels.widen(w.sums16.data(), w.sums32.data(), padded);
            int64_t first = 0;
            for (int k = 0; k < s.classes; ++k) {
                const int64_t count = list.class_end[k] - first;
                const Unit* units = list.units.data() + first;
                for (const Chunk& chunk : s.chunks[k]) {
                    const int64_t table = *at++;
                    if (table < 0 || !count) continue;
                    const uint8_t* weights = s.table.data() + table * s.weight_bytes;
                    const int64_t ahead = at < last_table ? *at * s.weight_bytes : -1;
                    const uint8_t* next = s.table.data() + std::max<int64_t>(ahead, 0);
                    const int64_t bytes = ahead < 0 ? 0 : std::min<int64_t>(40 << 10, s.table.data() + s.table.size() - next);
                    if (s.wide)
                        net.kernels.scatter32[chunk.vectors]((const int32_t*)weights, list.events.data(),
                                                             s.values ? list.values.data() : nullptr, units, count,
                                                             w.sums32.data(), chunk.offsets);
                    else if (s.weight_bytes == 1)
                        net.kernels.scatter8[chunk.vectors]((const int8_t*)weights, list.events.data(), units, count,
                                                            w.sums16.data(), chunk.offsets, next, bytes);
                    else
                        net.kernels.scatter16[chunk.vectors]((const int16_t*)weights, list.events.data(), units, count,
                                                             w.sums16.data(), chunk.offsets, next, bytes);
                }
                first = list.class_end[k];
            }
        }
    }
    if (narrow && sums32) net.kernels.widen(w.sums16.data(), w.sums32.data(), padded);
}

void Layer::update_fast(const Network& net, Work& w, int b, int from, int to, int frames) const {
    Update u{};
    const int64_t first = ((int64_t)top * padded_columns + before) * block;
    if (sums32)
        u.sums32 = w.sums32.data() + first;
    else if (!synapses.empty())
        u.sums16 = w.sums16.data() + first;
    u.frame = frames == 1 ? 0 : (int64_t)padded_rows * padded_columns * block;
    u.row = (int64_t)padded_columns * block;
    u.pixel = block;
    u.steps = to - from;
    u.rows = rows;
    u.columns = columns;
    const int begin = b * block;
    u.channels = std::min(block, 8 * shape.bytes - begin);
    u.threshold = threshold + begin;
    u.flip = flip + begin;
    u.bias = bias + begin;
    u.input_bias = input_bias + begin;
    u.amount = amount + begin;
    u.rest = rest + begin;
    u.init = init + begin;
    u.decay = decay + begin;
    u.stride = stride;
    u.shift = shift;
    u.decay_shift = decay_shift;
    u.rounding = net.arithmetic.rounding;
    u.least = (int32_t)net.arithmetic.least;
    u.most = (int32_t)net.arithmetic.most;
    u.current_least = (int32_t)net.arithmetic.current_least;
    u.current_most = (int32_t)net.arithmetic.current_most;
    u.pixel_bytes = shape.bytes;
    u.step_bytes = (int64_t)shape.pixels * shape.bytes;
    u.skips = (int)skips.size();
    for (int k = 0; k < u.skips; ++k) {
        u.skip_spikes[k] = net.bits_of(w, skips[k].source, from) + begin / 8;
        u.skip_step[k] = u.step_bytes;
        u.skip_weight[k] = skips[k].weight + begin;
        u.skip_stride[k] = skips[k].stride;
    }
    u.membrane_stride = width;
    u.membrane = keep ? w.membrane[id].data() + begin : nullptr;
    u.fresh = from == 0 && !w.running;
    u.spikes = w.bits[id].data() + from * u.step_bytes + begin / 8;
    if (w.tracing) {
        u.seen_step = (int64_t)shape.pixels * width;
        w.seen[id].resize((size_t)net.steps * u.seen_step);
        w.left[id].resize((size_t)net.steps * u.seen_step);
        u.seen = w.seen[id].data() + from * u.seen_step + begin;
        u.left = w.left[id].data() + from * u.seen_step + begin;
    }
    net.kernels.update[how][reset][may_overflow](u);
    w.counted[id][active] += u.active;
    const int64_t own = std::min(block, shape.channels - begin);
    w.counted[id][inactive] += own * shape.pixels * (to - from) - u.active;
    w.overflows += u.overflows;
}

// Any neuron, one at a time, in 64 bits.
void Layer::update_any(const Network& net, Work& w, int b, int from, int to, int frames) const {
    const int64_t frame = (int64_t)padded_rows * padded_columns * block;
    const int64_t size = shape.size();
    if (makes_bits) {
        const int begin = b < 0 ? 0 : b * block / 8;
        const int until = b < 0 ? shape.bytes : std::min(shape.bytes, (b + 1) * block / 8);
        for (int t = from; t < to; ++t)
            for (int p = 0; p < shape.pixels; ++p)
                std::memset(w.bits[id].data() + ((int64_t)t * shape.pixels + p) * shape.bytes + begin, 0, until - begin);
    }
    if (w.tracing) {
        w.seen_numbers[id].resize(net.steps * size);
        w.left_numbers[id].resize(net.steps * size);
    }
    for (int t = from; t < to; ++t) {
        if (b < 0) {
            const int64_t* x = w.numbers[current].data() + t * size;
            for (int64_t e = 0; e < size; ++e)
                step_any(net, w, e, x[e], t, (int)(e / shape.pixels), (int)(e % shape.pixels));
            continue;
        }
        const int64_t sums = frames == 1 ? 0 : (t - from) * frame;
        const int begin = b * block, until = std::min(shape.channels, begin + block);
        for (int y = 0, p = 0; y < rows; ++y) {
            for (int c = 0; c < columns; ++c, ++p) {
                const int64_t at = sums + ((int64_t)(y + top) * padded_columns + c + before) * block;
                for (int channel = begin; channel < until; ++channel) {
                    const int64_t e = (int64_t)channel * shape.pixels + p;
                    int64_t x = synapses.empty() ? 0
                                : sums32         ? w.sums32[at + channel - begin]
                                                 : w.sums16[at + channel - begin];
                    for (const Skip& skip : skips) {
                        const uint8_t* bits = net.bits_of(w, skip.source, t) + (int64_t)p * shape.bytes;
                        if (bits[channel / 8] >> (channel % 8) & 1) x += skip.weight[p * skip.stride + channel];
                    }
                    step_any(net, w, e, x, t, channel, p);
                }
            }
        }
    }
}

void Layer::step_any(const Network& net, Work& w, int64_t e, int64_t x, int t, int channel, int pixel) const {
    const Arithmetic& a = net.arithmetic;
    const int64_t size = shape.size();
    int64_t* state = w.state[id].data();
    auto& counted = w.counted[id];
    if (!fires) {
        int64_t& y = state[e];
        ++counted[x != 0 || y != 0 ? active : inactive];
        x = rounded(x, -shift, a.rounding);
        if (a.current_held) x = held(x, a.current_overflow, a.current_least, a.current_most, w.overflows);
        y = held(rounded(y * p_decay[e], a.fraction, a.rounding) + x + p_bias[e], a.overflow, a.least, a.most,
                 w.overflows);
        w.numbers[id][t * size + e] = y;
        if (w.tracing) w.seen_numbers[id][t * size + e] = w.left_numbers[id][t * size + e] = y;
        return;
    }
    int64_t &v = state[e], &i = state[size + e], &wait = state[2 * size + e];
    ++counted[x != 0 || v != 0 || (i != 0 && p_current[e] != 0) ? active : inactive];  // else i is no state
    i = held(rounded(i * p_current[e], a.fraction, a.rounding) + rounded(x, -shift, a.rounding) + p_input_bias[e],
             a.current_overflow, a.current_least, a.current_most, w.overflows);
    const int64_t h = held(rounded(v * p_decay[e], a.fraction, a.rounding) + i + p_bias[e], a.overflow, a.least, a.most,
                           w.overflows);
    const int64_t threshold = p_threshold[e];
    const bool up = strict ? h > threshold : h >= threshold, down = strict ? h < threshold : h <= threshold;
    int spike = p_flip[e] ? down : up;
    if (has_negative && !spike && (strict ? h < p_negative[e] : h <= p_negative[e])) spike = -1;
    if (refractory) {
        if (wait) spike = 0;
        wait = spike ? refractory : std::max<int64_t>(wait - 1, std::min<int64_t>(wait, 0));
    }
    int64_t kept = h;
    if (spike && reset == to_value) kept = p_rest[e];
    if (spike && reset == by_amount) kept = rounded(h * p_keep[e], a.fraction, a.rounding) - p_amount[e] * spike;
    v = held(kept, a.overflow, a.least, a.most, w.overflows);
    counted[spikes] += spike != 0;
    if (makes_bits) {
        if (spike)
            w.bits[id][((int64_t)t * shape.pixels + pixel) * shape.bytes + channel / 8] |= (uint8_t)(1 << (channel % 8));
    } else {
        w.numbers[id][t * size + e] = spike;
    }
    if (w.tracing) {
        w.seen_numbers[id][t * size + e] = h;
        w.left_numbers[id][t * size + e] = v;
    }
}

// -- the rest ---------------------------------------------------------------------------------------------------------

void Delay::start(const Network&, Work& w) const { w.state[id].assign((size_t)steps * shape.size(), 0); }

void Delay::run(const Network&, Work& w, int from, int to) const {
    const int64_t size = shape.size();
    for (int t = from; t < to; ++t) {
        const int64_t* x = t >= steps ? w.numbers[source].data() + (t - steps) * size : w.state[id].data() + t * size;
        std::copy(x, x + size, w.numbers[id].data() + t * size);
    }
}

void Delay::end(const Network& net, Work& w) const {
    const int64_t size = shape.size();
    std::vector<int64_t> line((size_t)steps * size);
    for (int k = 0; k < steps; ++k) {
        const int t = net.steps + k;  // the step at which it would come out
        const int64_t* x = t >= steps ? w.numbers[source].data() + (t - steps) * size : w.state[id].data() + t * size;
        std::copy(x, x + size, line.data() + k * size);
    }
    w.state[id].swap(line);
}

void Stateless::run(const Network& net, Work& w, int from, int to) const {
    for (int t = from; t < to; ++t) {
        if (makes_bits) {
            pool_bits(net, w, t);
            continue;
        }
        std::vector<const int64_t*> x;
        for (int source : sources) x.push_back(w.numbers[source].data() + t * net.nodes[source]->shape.size());
        step(net, w, x, w.numbers[id].data() + t * shape.size());
    }
}

void Stateless::pool_bits(const Network& net, Work& w, int t) const {
    const uint8_t* x = net.bits_of(w, sources[0], t);
    uint8_t* y = w.bits[id].data() + (int64_t)t * shape.pixels * shape.bytes;
    const int n = shape.bytes;
    std::memset(y, 0, (size_t)shape.pixels * n);
    for (int row = 0; row < out[0]; ++row)
        each_window(row, in[0], kernel[0], stride[0], pad[0], dilation[0], [&](int, int64_t r) {
            for (int column = 0; column < out[1]; ++column)
                each_window(column, in[1], kernel[1], stride[1], pad[1], dilation[1], [&](int, int64_t c) {
                    uint8_t* into = y + ((int64_t)row * out[1] + column) * n;
                    const uint8_t* from = x + (r * in[1] + c) * n;
                    for (int i = 0; i < n; ++i) into[i] |= from[i];
                });
        });
}

void Stateless::step(const Network& net, Work& w, const std::vector<const int64_t*>& xs, int64_t* y) const {
    (void)w;
    const int64_t* x = xs[0];
    const int64_t size = shape.size();
    const int64_t outs = (int64_t)out[0] * out[1], ins = (int64_t)in[0] * in[1];
    const int channels_in = net.nodes[sources[0]]->shape.channels;
    switch (kind) {
        case linear: {
            const int64_t inputs = net.nodes[sources[0]]->shape.size();
            for (int64_t o = 0; o < size; ++o) {
                int64_t total = 0;
                for (int64_t i = 0; i < inputs; ++i) total += weight[o * inputs + i] * x[i];
                y[o] = total;
            }
            break;
        }
        case conv: {
            std::fill(y, y + size, 0);
            const int per_in = channels_in / groups, per_out = shape.channels / groups;
            const int64_t taps = (int64_t)kernel[0] * kernel[1];
            for (int o = 0; o < shape.channels; ++o)
                for (int i = 0; i < per_in; ++i) {
                    const int64_t* from = x + (int64_t)(o / per_out * per_in + i) * ins;
                    const int64_t* ws = weight + ((int64_t)o * per_in + i) * taps;
                    for (int r = 0; r < out[0]; ++r)
                        for (int c = 0; c < out[1]; ++c) {
                            int64_t total = 0;
                            each_window(r, in[0], kernel[0], stride[0], pad[0], dilation[0], [&](int k, int64_t a) {
                                each_window(c, in[1], kernel[1], stride[1], pad[1], dilation[1], [&](int l, int64_t b) {
                                    total += ws[k * kernel[1] + l] * from[a * in[1] + b];
                                });
                            });
                            y[o * outs + (int64_t)r * out[1] + c] += total;
                        }
                }
            break;
        }
        case conv_transpose: {
            std::fill(y, y + size, 0);
            const int per_in = channels_in / groups, per_out = shape.channels / groups;
            const int64_t taps = (int64_t)kernel[0] * kernel[1];
            for (int i = 0; i < channels_in; ++i)
                for (int o = 0; o < per_out; ++o) {
                    const int64_t* ws = weight + ((int64_t)i * per_out + o) * taps;
                    int64_t* into = y + (int64_t)(i / per_in * per_out + o) * outs;
                    for (int r = 0; r < in[0]; ++r)
                        for (int c = 0; c < in[1]; ++c)
                            if (const int64_t value = x[i * ins + (int64_t)r * in[1] + c])
                                each_window(r, out[0], kernel[0], stride[0], pad[0], dilation[0], [&](int k, int64_t a) {
                                    each_window(c, out[1], kernel[1], stride[1], pad[1], dilation[1],
                                                [&](int l, int64_t b) {
                                                    into[a * out[1] + b] += value * ws[k * kernel[1] + l];
                                                });
                                });
                }
            break;
        }
        case scale:
            for (int64_t e = 0; e < size; ++e) y[e] = weight[e * weight_step] * x[e];
            break;
        case sum_pool:
        case max_pool:
            for (int ch = 0; ch < shape.channels; ++ch)
                for (int r = 0; r < out[0]; ++r)
                    for (int c = 0; c < out[1]; ++c) {
                        int64_t total = kind == max_pool ? std::numeric_limits<int64_t>::min() : 0;
                        each_window(r, in[0], kernel[0], stride[0], pad[0], dilation[0], [&](int, int64_t a) {
                            each_window(c, in[1], kernel[1], stride[1], pad[1], dilation[1], [&](int, int64_t b) {
                                const int64_t value = x[ch * ins + a * in[1] + b];
                                total = kind == max_pool ? std::max(total, value) : total + value;
                            });
                        });
                        y[ch * outs + (int64_t)r * out[1] + c] = total;
                    }
            break;
        case upsample:
            for (int ch = 0; ch < shape.channels; ++ch)
                for (int r = 0; r < out[0]; ++r)
                    for (int c = 0; c < out[1]; ++c)
                        y[ch * outs + (int64_t)r * out[1] + c] =
                            x[ch * ins + (int64_t)(r / stride[0]) * in[1] + c / stride[1]];
            break;
        case copy:
            std::copy(x, x + size, y);
            break;
        case concat: {
            int64_t* into = y;
            for (int o = 0; o < axis_outer; ++o)
                for (size_t k = 0; k < xs.size(); ++k) into = std::copy(xs[k] + o * inner[k], xs[k] + (o + 1) * inner[k], into);
            break;
        }
        case add:
            std::copy(x, x + size, y);
            for (size_t k = 1; k < xs.size(); ++k)
                for (int64_t e = 0; e < size; ++e) y[e] += xs[k][e];
            break;
    }
    if (bias)
        for (int64_t e = 0; e < size; ++e) y[e] += bias[e * bias_step];
}

// -- the network ------------------------------------------------------------------------------------------------------

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

void Network::run(Work& w, const std::vector<const int64_t*>& given, const std::vector<int>& given_steps,
                  bool stream) const {
    prepare(w);
    for (auto& each : w.counted) each.fill(0);
    w.overflows = 0;
    using Clock = std::chrono::steady_clock;
    Clock::time_point last;
    if (timing) w.elapsed.resize(nodes.size()), last = Clock::now();
    auto lap = [&](int id) {  // what happened since the last lap was for this node
        if (!timing) return;
        const Clock::time_point now = Clock::now();
        w.elapsed[id] += std::chrono::duration_cast<std::chrono::nanoseconds>(now - last).count();
        last = now;
    };
    if (!stream) w.running = false;
    if (!w.running)
        for (const auto& node : nodes) node->start(*this, w);
    for (size_t k = 0; k < inputs.size(); ++k) {
        const Node& node = *nodes[inputs[k]];
        const int64_t size = node.shape.size();
        int64_t* into = w.numbers[node.id].data();
        bool same = true;
        for (int t = 0; t < steps; ++t) {
            const int64_t* x = given[k] + (given_steps[k] == 1 ? 0 : t * size);
            std::copy(x, x + size, into + t * size);
            same = same && (t == 0 || std::equal(x, x + size, given[k]));
        }
        w.constant[node.id] = same;
        lap(node.id);
    }
    auto finish = [&](const Node& node, int from, int to) {
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
                nodes[id]->run(*this, w, from, from + stride);
                finish(*nodes[id], from, from + stride);
                lap(id);
            }
    }
    for (const Fan& fan : fans) {
        const Node& source = *nodes[fan.source];
        const Shape& s = source.shape;
        int64_t met = 0, met_nonzero = 0;
        if (fan.uniform && !fan.stored[0]) continue;
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
        lap(fan.layer);
    }
    for (const auto& node : nodes) node->end(*this, w);
    w.running = stream;
}

}  // namespace engine
