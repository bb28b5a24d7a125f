// Neurons and integrators with what they read.
#include "network.h"

#include <algorithm>

namespace engine {
namespace {

constexpr int64_t cached_table = 128 << 10;  // bytes of weights that are still there when the next sample comes
constexpr int64_t cached_sums = 16 << 10;    // sums that leave the first-level cache some room
constexpr int64_t next_table = 40 << 10;     // bytes that are fetched ahead

// By how many events they have, as decode leaves them.
void sort_in_bands(std::vector<Unit>& units, size_t from) {
    Unit band[band_units];
    for (; from < units.size(); from += band_units) {
        const size_t count = std::min<size_t>(band_units, units.size() - from);
        std::copy_n(units.begin() + from, count, band);
        int32_t starts[258] = {};
        for (size_t k = 0; k < count; ++k) ++starts[band[k].count + 1];
        for (int n = 1; n < 258; ++n) starts[n] += starts[n - 1];
        for (size_t k = 0; k < count; ++k) units[from + starts[band[k].count]++] = band[k];
    }
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

}  // namespace

void Layer::start(const Network& net, Work& w) const {
    if (sums_only) return;
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

bool Layer::shares() const {
    int64_t bytes = 0;
    for (const Synapse& s : synapses) bytes += (int64_t)s.table.size();
    return bytes > cached_table;
}

void Layer::run(const Network& net, Team& team, int from, int to) const {
    if (current >= 0) {
        for (int k = 0; k < team.count; ++k) update_any(net, team[k], {}, -1, from, to, to - from);
        return;
    }
    bool constant = skips.empty();
    for (const Synapse& s : synapses)
        for (int k = 0; k < team.count; ++k) constant = constant && team[k].constant[s.source];
    const int frames = constant ? 1 : to - from;
    const int side_by_side = shares() ? team.count : 1;
    if ((int)team.lists.size() < side_by_side) team.lists.resize(side_by_side);
    for (int first = 0; first < team.count; first += side_by_side) {
        for (int k = 0; k < side_by_side; ++k) {
            gather(net, team[first + k], team, team.lists[k], from, frames, constant ? to - from : 1);
            if (may_flush) foresee(team, team.lists[k], frames);
        }
        const int at_once = frames * frame() <= cached_sums ? side_by_side : 1;
        for (int b = 0; b < blocks; ++b) {
            for (int k = 0; k < side_by_side; k += at_once) {
                const bool widened = sum(net, team, b, frames, k, k + at_once);
                for (int j = 0; j < at_once; ++j) {
                    Sums sums{};
                    if (widened)
                        sums.wide = team.sums32.data() + j * room(frames);
                    else if (!synapses.empty())
                        sums.narrow = team.sums16.data() + j * room(frames);
                    if (fast)
                        update_fast(net, team[first + k + j], sums, b, from, to, frames);
                    else
                        update_any(net, team[first + k + j], sums, b, from, to, frames);
                }
            }
        }
    }
    if (!fast) return;
    const int64_t step = (int64_t)shape.pixels * shape.bytes;
    for (int k = 0; k < team.count; ++k)
        team[k].counted[id][spikes] += net.kernels.count(net.bits_of(team[k], id, from), (to - from) * step);
}

// The events of every synapse, as lists; what they meet is counted on the way, as often as each frame is used.
void Layer::gather(const Network& net, Work& w, Team& team, std::vector<List>& lists, int from, int frames,
                   int uses) const {
    size_t used_lists = 0;
    for (const Synapse& s : synapses) {
        const Shape& source = net.nodes[s.source]->shape;
        Tally tally{};
        if (s.fan_class && !s.values) {
            team.counters.assign((size_t)s.fan_classes * s.channels + 64, 0);  // a part may start anywhere
            team.totals.assign((size_t)s.fan_classes * s.channels, 0);
            tally = Tally{s.fan_class, team.counters.data(), team.totals.data(), s.fan_classes, s.channels, 0};
        }
        const int count = s.class_start[s.classes];
        for (int part = 0; part < s.parts; ++part) {
            if (used_lists == lists.size()) lists.emplace_back();
            List& list = lists[used_lists++];
            list.class_end.clear();
            list.pieces = 1;
            list.flush = false;
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
                                list.units[units++] = Unit{start, used - start, (int32_t)(t * frame() + s.places[u])};
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
            d.frame = frame();
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

// Which lists would give a 16-bit sum more events than it surely holds, together with those since the last such list.
void Layer::foresee(Team& team, std::vector<List>& lists, int frames) const {
    const size_t size = (size_t)frames * padded_rows * padded_columns, margin = (size_t)padded_rows * padded_columns;
    std::vector<int32_t>&met = team.met, &ours = team.ours, &units = team.units;
    met.assign(size + 2 * margin, 0);
    int shift = 0;
    while (1 << shift < block) ++shift;
    size_t which = 0;
    for (const Synapse& s : synapses) {
        for (int part = 0; part < s.parts; ++part) {
            List& list = lists[which++];
            if (s.wide) continue;
            ours.assign(size + 2 * margin, 0);
            int64_t at = 0;
            for (int k = 0; k < s.classes; ++k) {
                units.assign(size, 0);
                for (; at < list.class_end[k]; ++at) {
                    const Unit& unit = list.units[at];
                    units[1 << shift == block ? unit.place >> shift : unit.place / block] += (int32_t)unit.count;
                }
                for (int32_t distance : s.distances[k]) {  // no unit reaches out of its frame
                    int32_t* into = ours.data() + margin + distance;
                    for (size_t i = 0; i < size; ++i) into[i] += units[i];
                }
            }
            int32_t most = 0, alone = 0;
            for (size_t i = 0; i < met.size(); ++i) {
                met[i] += ours[i];
                most = std::max(most, met[i]);
                alone = std::max(alone, ours[i]);
            }
            list.flush = most > safe_events;
            if (list.flush) met = ours;
            if (alone > safe_events) split(list, s, s.part_bytes[part]);
        }
    }
}

// A list that is too long for 16-bit sums, in pieces of so few channels that their weights prove them harmless.
void Layer::split(List& list, const Synapse& s, int bytes) const {
    const int pieces = (bytes + s.piece_bytes - 1) / s.piece_bytes;
    std::vector<Unit> units;
    std::vector<int64_t> ends;
    for (int piece = 0; piece < pieces; ++piece) {
        const int until = 8 * s.piece_bytes * (piece + 1);
        int64_t at = 0;
        for (int k = 0; k < s.classes; ++k) {
            for (; at < list.class_end[k]; ++at) {  // what is left of each unit
                Unit& unit = list.units[at];
                const uint8_t* events = list.events.data() + unit.start;
                uint32_t count = 0;
                for (uint32_t e = 0; e < unit.count; ++e) count += events[e] < until;
                if (count) units.push_back({unit.start, count, unit.place});
                unit.start += count;
                unit.count -= count;
            }
            sort_in_bands(units, ends.empty() ? 0 : (size_t)ends.back());
            ends.push_back((int64_t)units.size());
        }
    }
    list.units.swap(units);
    list.class_end.swap(ends);
    list.pieces = pieces;
}

// All synapses of a block of channels, added up for all steps of some samples; whether the sums are those of 32 bits.
bool Layer::sum(const Network& net, Team& team, int b, int frames, int from, int until) const {
    const int64_t apart = room(frames), size = (until - from) * apart;
    bool narrow = false, widened = false;
    for (const Synapse& s : synapses) (s.wide ? widened : narrow) = true;
    const auto lists = [&](int n) -> const std::vector<List>& { return team.lists[n]; };
    if (may_flush)
        for (int n = from; n < until; ++n)
            for (const List& list : lists(n)) widened = widened || list.flush;
    if (narrow) {
        if ((int64_t)team.sums16.size() < size) team.sums16.resize(size);
        std::memset(team.sums16.data(), 0, size * sizeof(int16_t));
    }
    if (widened) {
        if ((int64_t)team.sums32.size() < size) team.sums32.resize(size);
        std::memset(team.sums32.data(), 0, size * sizeof(int32_t));
    }
    size_t which = 0;
    for (const Synapse& s : synapses) {
        const int64_t* tables = s.table_at + (int64_t)b * s.parts * s.table_chunks;
        const int64_t* const last = s.table_at + (int64_t)s.blocks * s.parts * s.table_chunks;
        for (int part = 0; part < s.parts; ++part, ++which, tables += s.table_chunks) {
            int pieces = 1;
            bool flush = false;
            for (int n = from; n < until; ++n) {
                pieces = std::max(pieces, lists(n)[which].pieces);
                flush = flush || lists(n)[which].flush;
            }
            for (int piece = 0; piece < pieces; ++piece) {
                if (flush) net.kernels.widen(team.sums16.data(), team.sums32.data(), size);
                const int64_t* at = tables;
                for (int k = 0; k < s.classes; ++k) {
                    for (const Chunk& chunk : s.chunks[k]) {
                        const int64_t table = *at++;
                        if (table < 0) continue;
                        const uint8_t* weights = s.table.data() + table * s.weight_bytes;
                        const bool go_on = piece + 1 == pieces && at < last && *at >= 0;
                        const int64_t ahead = go_on ? *at * s.weight_bytes : (int64_t)s.table.size();
                        // Each sample fetches a share of the weights that come next.
                        const int64_t share = std::min(next_table, (int64_t)s.table.size() - ahead) / (until - from);
                        for (int n = from; n < until; ++n) {
                            const List& list = lists(n)[which];
                            if (piece >= list.pieces) continue;
                            const int end = piece * s.classes + k;
                            const int64_t first = end ? list.class_end[end - 1] : 0;
                            const int64_t count = list.class_end[end] - first;
                            if (!count) continue;
                            const Unit* units = list.units.data() + first;
                            const uint8_t* next = s.table.data() + ahead + (n - from) * share;
                            int16_t* sums16 = team.sums16.data() + (n - from) * apart;
                            if (s.wide)
                                net.kernels.scatter32[chunk.vectors](
                                    (const int32_t*)weights, list.events.data(),
                                    s.values ? list.values.data() : nullptr, units, count,
                                    team.sums32.data() + (n - from) * apart, chunk.offsets);
                            else if (s.weight_bytes == 1)
                                net.kernels.scatter8[chunk.vectors]((const int8_t*)weights, list.events.data(), units,
                                                                    count, sums16, chunk.offsets, next, share);
                            else
                                net.kernels.scatter16[chunk.vectors]((const int16_t*)weights, list.events.data(), units,
                                                                     count, sums16, chunk.offsets, next, share);
                        }
                    }
                }
            }
        }
    }
    if (narrow && widened) net.kernels.widen(team.sums16.data(), team.sums32.data(), size);
    return widened;
}

void Layer::update_fast(const Network& net, Work& w, Sums sums, int b, int from, int to, int frames) const {
    Update u{};
    const int64_t first = ((int64_t)top * padded_columns + before) * block;
    if (sums.wide) u.sums32 = sums.wide + first;
    if (sums.narrow) u.sums16 = sums.narrow + first;
    u.frame = frames == 1 ? 0 : frame();
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

// The sums of a block of channels, skips included, one after the other.
template <class F>
void Layer::each_sum(const Network& net, Work& w, Sums sums, int b, int from, int to, int frames, F&& take) const {
    const int begin = b * block, until = std::min(shape.channels, begin + block);
    for (int t = from; t < to; ++t) {
        const int64_t start = frames == 1 ? 0 : (t - from) * frame();
        for (int y = 0, p = 0; y < rows; ++y)
            for (int c = 0; c < columns; ++c, ++p) {
                const int64_t at = start + ((int64_t)(y + top) * padded_columns + c + before) * block;
                for (int channel = begin; channel < until; ++channel) {
                    int64_t x = sums.wide     ? sums.wide[at + channel - begin]
                                : sums.narrow ? sums.narrow[at + channel - begin]
                                              : 0;
                    for (const Skip& skip : skips) {
                        const uint8_t* bits = net.bits_of(w, skip.source, t) + (int64_t)p * shape.bytes;
                        if (bits[channel / 8] >> (channel % 8) & 1) x += skip.weight[p * skip.stride + channel];
                    }
                    take(t, channel, p, x);
                }
            }
    }
}

// Any neuron, one at a time, in 64 bits.
void Layer::update_any(const Network& net, Work& w, Sums sums, int b, int from, int to, int frames) const {
    const int64_t size = shape.size();
    if (sums_only) {
        int64_t* y = w.numbers[id].data();
        each_sum(net, w, sums, b, from, to, frames,
                 [&](int t, int channel, int p, int64_t x) { y[t * size + (int64_t)channel * shape.pixels + p] = x; });
        return;
    }
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
    if (b >= 0) {
        each_sum(net, w, sums, b, from, to, frames, [&](int t, int channel, int p, int64_t x) {
            step_any(net, w, (int64_t)channel * shape.pixels + p, x, t, channel, p);
        });
        return;
    }
    for (int t = from; t < to; ++t) {
        const int64_t* x = w.numbers[current].data() + t * size;
        for (int64_t e = 0; e < size; ++e)
            step_any(net, w, e, x[e], t, (int)(e / shape.pixels), (int)(e % shape.pixels));
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
    const int64_t heard = deaf && wait ? 0 : i;
    const int64_t h = held(rounded(v * p_decay[e], a.fraction, a.rounding) + heard + p_bias[e], a.overflow, a.least,
                           a.most, w.overflows);
    const int64_t threshold = p_threshold[e];
    const bool up = strict ? h > threshold : h >= threshold, down = strict ? h < threshold : h <= threshold;
    int64_t spike = p_flip[e] ? down : up;
    if (max_spikes > 1 && spike) {
        spike = (h - threshold - strict) / p_amount[e] + 1;
        if (spike > max_spikes) {
            spike = max_spikes;
            ++w.overflows;
        }
    }
    if (has_negative && !spike && (strict ? h < p_negative[e] : h <= p_negative[e])) spike = -1;
    if (refractory) {
        if (wait) spike = 0;
        wait = spike ? refractory : std::max<int64_t>(wait - 1, std::min<int64_t>(wait, 0));
    }
    if (deaf) wait = spike != 0;
    int64_t kept = h;
    if (spike && reset == to_value) kept = p_rest[e];
    if (spike && reset == by_amount) kept = rounded(h * p_keep[e], a.fraction, a.rounding) - p_amount[e] * spike;
    v = held(kept, a.overflow, a.least, a.most, w.overflows);
    counted[spikes] += std::abs(spike);
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

}  // namespace engine
