// The inner loops, written once over `Simd`; each kernels_*.cpp compiles them for its instruction set.

// Adds up the weights that the events of each unit meet. All of a unit's sums stay in registers until its last event.
// Meanwhile the weights that are needed next come nearer.
template <class W, int vectors>
void scatter(const W* weights, const uint8_t* events, const Unit* units, int64_t count, int16_t* sums,
             const int32_t* offsets, const uint8_t* ahead, int64_t bytes_ahead) {
    constexpr int row = vectors * Simd::lanes;
    const uint8_t* const end_ahead = ahead + bytes_ahead;
    for (const Unit *unit = units, *end = units + count; unit != end; ++unit) {
        const uint8_t* event = events + unit->start;
        const uint8_t* last = event + unit->count;
        typename Simd::I16 sum[vectors];
        for (int v = 0; v < vectors; ++v) sum[v] = Simd::zero16();
        do {
            const W* met = weights + (size_t)*event * row;
            for (int v = 0; v < vectors; ++v) sum[v] = Simd::add16(sum[v], Simd::load16(met + v * Simd::lanes));
        } while (++event != last);
        for (int line = 0; line < 4 && ahead < end_ahead; ++line, ahead += 64) __builtin_prefetch(ahead, 0, 2);
        int16_t* into = sums + unit->place;
        for (int v = 0; v < vectors; ++v) {
            int16_t* at = into + offsets[v];
            Simd::store16(at, Simd::add16(Simd::load16(at), sum[v]));
        }
    }
}

// The same in 32 bits, for weights or values that 16 bits cannot be proved to hold.
template <int vectors>
void scatter32(const int32_t* weights, const uint8_t* events, const int32_t* values, const Unit* units, int64_t count,
               int32_t* sums, const int32_t* offsets) {
    constexpr int row = vectors * Simd::half;
    for (const Unit *unit = units, *end = units + count; unit != end; ++unit) {
        typename Simd::I32 sum[vectors];
        for (int v = 0; v < vectors; ++v) sum[v] = Simd::set32(0);
        for (uint32_t e = unit->start; e != unit->start + unit->count; ++e) {
            const int32_t* met = weights + (size_t)events[e] * row;
            if (values) {
                typename Simd::I32 value = Simd::set32(values[e]);
                for (int v = 0; v < vectors; ++v)
                    sum[v] = Simd::add32(sum[v], Simd::mul32(value, Simd::load32(met + v * Simd::half)));
            } else {
                for (int v = 0; v < vectors; ++v) sum[v] = Simd::add32(sum[v], Simd::load32(met + v * Simd::half));
            }
        }
        int32_t* into = sums + unit->place;
        for (int v = 0; v < vectors; ++v) {
            int32_t* at = into + offsets[v];
            Simd::store32(at, Simd::add32(Simd::load32(at), sum[v]));
        }
    }
}

void move_tally(Tally& tally, int64_t size) {
    for (int64_t i = 0; i < size; ++i) tally.totals[i] += tally.counters[i];
    std::memset(tally.counters, 0, size);
    tally.since = 0;
}

// The events of some units at one step, behind those that are there; returns where the next go.
template <bool single, bool tallies>
uint32_t list(const Decode& d, const Tally* tally, const uint8_t* bits, int64_t frame, int from, int to, uint32_t at,
              uint8_t* events, Unit*& held, int32_t* starts) {
    const int words = single ? 1 : (d.bytes + 7) / 8;
    const uint64_t tail = d.bytes % 8 ? (1ull << (8 * (d.bytes % 8))) - 1 : ~0ull;
    const int64_t unit_bytes = d.unit_bytes;
    const int32_t *units = d.units, *places = d.places;
    const int32_t* classes = tallies ? tally->classes : nullptr;
    uint8_t* const counters = tallies ? tally->counters + 8 * d.first : nullptr;
    const int64_t channels = tallies ? tally->channels : 0;
    Unit* unit = held;
    // Units that meet as many weights stand together: their counters stay in registers.
    int32_t now = -1;
    Simd::Tallies counted{};
    for (int u = from; u < to; ++u) {
        const int64_t which = units[u];
        const uint32_t start = at;
        if (single && tallies && classes[which] != now) {
            if (now >= 0) Simd::store(counters + now * channels, counted);
            now = classes[which];
            counted = Simd::load(counters + now * channels);
        }
        for (int w = 0; w < words; ++w) {
            uint64_t word;
            std::memcpy(&word, bits + which * unit_bytes + 8 * w, 8);
            if (single || w == words - 1) word &= tail;
            at += (uint32_t)Simd::indices(word, 64 * w, events + at);
            if constexpr (single && tallies) {
                Simd::tally(word, counted);
            } else if constexpr (tallies) {
                uint8_t* memory = counters + classes[which] * channels + 64 * w;
                Simd::Tallies each = Simd::load(memory);
                Simd::tally(word, each);
                Simd::store(memory, each);
            }
        }
        const uint32_t count = at - start;
        *unit = Unit{start, count, (int32_t)(frame + places[u])};
        unit += count != 0;
        ++starts[count + 1];
    }
    if (single && tallies && now >= 0) Simd::store(counters + now * channels, counted);
    held = unit;
    return at;
}

// Bits to lists of events, in bands sorted by length: a loop that ran n times before runs n times again.
int64_t decode(const Decode& d, Tally* tally, uint8_t* events, uint32_t& used, Unit* units) {
    Unit band[band_units + 1];
    int32_t starts[260];
    Unit* out = units;
    uint32_t at = used;
    const bool single = d.bytes <= 8;
    const int longest = 8 * d.bytes;  // a unit's list
    const auto lists = tally ? (single ? list<true, true> : list<false, true>)
                             : (single ? list<true, false> : list<false, false>);
    // Neighbours in one band, so that their sums stay near; several steps only where the frame is small.
    const int wide = d.count < band_units ? d.count : band_units;
    const int deep = band_units / (wide < 1 ? 1 : wide);
    for (int first = 0; first < d.steps; first += deep) {
        const int until = first + deep < d.steps ? first + deep : d.steps;
        for (int from = 0; from < d.count; from += wide) {
            const int to = from + wide < d.count ? from + wide : d.count;
            Unit* held = band;
            std::memset(starts, 0, (longest + 2) * sizeof *starts);
            for (int t = first; t < until; ++t) {
                if (tally) {
                    if (tally->since + to - from > 255) move_tally(*tally, (int64_t)tally->count * tally->channels);
                    tally->since += to - from;
                }
                at = lists(d, tally, d.spikes + t * d.step_bytes + d.first, t * d.frame, from, to, at, events, held,
                           starts);
            }
            starts[1] = 0;  // units without events are left out
            for (int n = 2; n <= longest; ++n) starts[n] += starts[n - 1];
            for (const Unit* unit = band; unit != held; ++unit) out[starts[unit->count]++] = *unit;
            out += held - band;
        }
    }
    used = at;
    return out - units;
}

void met(const Tally& tally, const int64_t* stored, const int64_t* nonzero, int64_t& all, int64_t& some) {
    int64_t met_all = 0, met_some = 0;
    for (int64_t i = 0, size = (int64_t)tally.count * tally.channels; i < size; ++i) {
        const int64_t fired = (int64_t)tally.totals[i] + tally.counters[i];
        met_all += fired * stored[i];
        met_some += fired * nonzero[i];
    }
    all += met_all;
    some += met_some;
}

int64_t count(const uint8_t* bits, int64_t bytes) {
    int64_t found = 0;
    for (; bytes >= 8; bytes -= 8, bits += 8) {
        uint64_t word;
        std::memcpy(&word, bits, 8);
        found += __builtin_popcountll(word);
    }
    uint64_t word = 0;
    std::memcpy(&word, bits, bytes);
    return found + __builtin_popcountll(word);
}

void widen(int16_t* from, int32_t* into, int64_t count) {
    for (int64_t i = 0; i < count; i += Simd::half)
        Simd::store32(into + i, Simd::add32(Simd::load32(into + i), Simd::load32(from + i)));
    std::memset(from, 0, count * sizeof(int16_t));
}

template <int how>
inline Simd::I32 decayed(const Update& u, Simd::I32 v, Simd::F64 low, Simd::F64 high) {
    if constexpr (how == same) {
        return v;
    } else if constexpr (how == shifted) {
        const int by = u.decay_shift;
        if (u.rounding == 0) return Simd::right(Simd::add32(v, Simd::set32(1 << (by - 1))), by);
        if (u.rounding == 1) return Simd::right(v, by);
        typename Simd::I32 sign = Simd::sign(v);  // |v| >> by, with v's sign
        return Simd::sub32(Simd::xor32(Simd::right(Simd::sub32(Simd::xor32(v, sign), sign), by), sign), sign);
    } else {
        // Exact: a membrane times a mantissa has fewer than 53 bits (the plan sees to it), and 2**-fraction is in it.
        typename Simd::F64 a = Simd::mul64(Simd::low(v), low), b = Simd::mul64(Simd::high(v), high);
        if (u.rounding == 0) a = Simd::add64(a, 0.5), b = Simd::add64(b, 0.5);
        if (u.rounding != 2) a = Simd::floor64(a), b = Simd::floor64(b);
        return Simd::whole(a, b);
    }
}

inline Simd::I32 shifted_sum(const Update& u, Simd::I32 x) {
    if (u.shift >= 0) return Simd::left(x, u.shift);
    const int by = -u.shift;
    if (u.rounding == 0) return Simd::right(Simd::add32(x, Simd::set32(1 << (by - 1))), by);
    if (u.rounding == 1) return Simd::right(x, by);
    typename Simd::I32 sign = Simd::sign(x);
    return Simd::sub32(Simd::xor32(Simd::right(Simd::sub32(Simd::xor32(x, sign), sign), by), sign), sign);
}

inline Simd::I32 held(Simd::I32 x, int32_t least, int32_t most, int64_t& overflows) {
    typename Simd::I32 kept = Simd::min32(Simd::max32(x, Simd::set32(least)), Simd::set32(most));
    overflows += __builtin_popcount(Simd::bits(Simd::differs(kept, x)));
    return kept;
}

// The weights of a skip where its events are.
inline Simd::I32 skipped(const uint8_t* bits, int channel, const int32_t* weight) {
    uint32_t set;
    if constexpr (Simd::half == 16) {
        uint16_t both;
        std::memcpy(&both, bits, 2);
        set = both;
    } else {
        set = *bits >> (Simd::half == 4 ? channel % 8 : 0);
    }
    return Simd::pick(Simd::mask(set), Simd::load32(weight), Simd::set32(0));
}

inline void write_spikes(uint8_t* into, int channel, Simd::Mask fires) {
    const uint32_t bits = Simd::bits(fires);
    if constexpr (Simd::half == 16) {
        const uint16_t both = (uint16_t)bits;
        std::memcpy(into, &both, 2);
    } else if constexpr (Simd::half == 8) {
        *into = (uint8_t)bits;
    } else {
        *into = (uint8_t)(channel % 8 ? *into | bits << 4 : bits);
    }
}

// The parameters of a register of neurons.
template <int how>
struct Neurons {
    typename Simd::I32 threshold, flip, bias, first, rest, amount, init, half;
    typename Simd::F64 low{}, high{};

    Neurons(const Update& u, int64_t p)
        : threshold(Simd::load32(u.threshold + p)), flip(Simd::load32(u.flip + p)), bias(Simd::load32(u.bias + p)),
          first(Simd::load32(u.input_bias + p)), rest(Simd::load32(u.rest + p)), amount(Simd::load32(u.amount + p)),
          init(Simd::load32(u.init + p)), half(Simd::set32(how == shifted ? 1 << (u.decay_shift - 1) : 0)) {
        if constexpr (how == general) {
            low = Simd::load64(u.decay + p);
            high = Simd::load64(u.decay + p + Simd::half / 2);
        }
    }

    // One step: h, the membrane that is left, and which fire. Plain: sums are shifted left, decays rounded to nearest.
    template <int reset, bool overflows, bool plain>
    Simd::Mask step(const Update& u, Simd::I32 sum, Simd::I32& v, Simd::I32& h, int64_t& over) const {
        typename Simd::I32 i = Simd::add32(plain ? Simd::left(sum, u.shift) : shifted_sum(u, sum), first);
        if constexpr (overflows) i = held(i, u.current_least, u.current_most, over);
        typename Simd::I32 kept;
        if constexpr (plain && how == shifted)
            kept = Simd::right(Simd::add32(v, half), u.decay_shift);
        else
            kept = decayed<how>(u, v, low, high);
        h = Simd::add32(kept, Simd::add32(i, bias));
        if constexpr (overflows) h = held(h, u.least, u.most, over);
        const typename Simd::Mask fires = Simd::greater(Simd::xor32(h, flip), threshold);
        v = h;
        if constexpr (reset == to_value) v = Simd::pick(fires, rest, h);
        if constexpr (reset == by_amount) {
            v = Simd::pick(fires, Simd::sub32(h, amount), h);
            if constexpr (overflows) v = held(v, u.least, u.most, over);
        }
        return fires;
    }
};

// The usual case: plain arithmetic, parameters by channel, membranes that start here and are forgotten, at most one skip.
template <int how, int reset, bool overflows, bool skip, class Sum>
void update_usual(const Update& u, const Sum* sums, Simd::I32& active, int64_t& over) {
    for (int c = 0; c < u.channels; c += Simd::half) {
        const Neurons<how> neurons(u, c);
        uint8_t* into = u.spikes + c / 8;
        const uint8_t* skips = skip ? u.skip_spikes[0] + c / 8 : nullptr;
        const int32_t* weight = skip ? u.skip_weight[0] + c : nullptr;
        const int64_t step = u.step_bytes, frame = u.frame, skip_step = skip ? u.skip_step[0] : 0;
        const int64_t skip_stride = skip ? u.skip_stride[0] : 0;
        for (int y = 0; y < u.rows; ++y) {
            const Sum* at = sums + y * u.row + c;
            for (int x = 0; x < u.columns; ++x, at += u.pixel, into += u.pixel_bytes) {
                typename Simd::I32 v = neurons.init, h;
                const Sum* from = at;
                uint8_t* out = into;
                const uint8_t* events = skips;
                for (int t = 0; t < u.steps; ++t, from += frame, out += step) {
                    typename Simd::I32 sum = Simd::load32(from);
                    if constexpr (skip) {
                        sum = Simd::add32(sum, skipped(events, c, weight));
                        events += skip_step;
                    }
                    active = Simd::count(active, Simd::nonzero(Simd::or32(sum, v)));
                    write_spikes(out, c, neurons.template step<reset, overflows, true>(u, sum, v, h, over));
                }
                if constexpr (skip) {
                    skips += u.pixel_bytes;
                    weight += skip_stride;
                }
            }
        }
    }
}

// Any case: parameters by neuron, membranes that are kept, what is asked for written down.
template <int how, int reset, bool overflows>
void update_any(const Update& u, Simd::I32& active, int64_t& over) {
    int64_t pixel = 0;
    for (int y = 0; y < u.rows; ++y) {
        for (int x = 0; x < u.columns; ++x, ++pixel) {
            for (int c = 0; c < u.channels; c += Simd::half) {
                const Neurons<how> neurons(u, pixel * u.stride + c);
                const int64_t place = y * u.row + x * u.pixel + c, own = pixel * u.membrane_stride + c;
                const int64_t byte = pixel * u.pixel_bytes + c / 8;
                typename Simd::I32 v = u.fresh ? neurons.init : Simd::load32(u.membrane + own), h;
                for (int t = 0; t < u.steps; ++t) {
                    typename Simd::I32 sum = u.sums32   ? Simd::load32(u.sums32 + place + t * u.frame)
                                             : u.sums16 ? Simd::load32(u.sums16 + place + t * u.frame)
                                                        : Simd::set32(0);
                    for (int k = 0; k < u.skips; ++k)
                        sum = Simd::add32(sum, skipped(u.skip_spikes[k] + t * u.skip_step[k] + byte, c,
                                                       u.skip_weight[k] + pixel * u.skip_stride[k] + c));
                    active = Simd::count(active, Simd::nonzero(Simd::or32(sum, v)));
                    write_spikes(u.spikes + t * u.step_bytes + byte, c,
                                 neurons.template step<reset, overflows, false>(u, sum, v, h, over));
                    if (u.seen) {
                        Simd::store32(u.seen + t * u.seen_step + own, h);
                        Simd::store32(u.left + t * u.seen_step + own, v);
                    }
                }
                if (u.membrane) Simd::store32(u.membrane + own, v);
            }
        }
    }
}

// All steps of a pixel's neurons with their membranes in registers; what fires is written as bits.
template <int how, int reset, bool overflows>
void update(Update& given) {
    const Update u = given;  // a copy of our own: no store can change it
    typename Simd::I32 active = Simd::set32(0);
    int64_t over = 0;
    const bool plain = u.shift >= 0 && u.rounding == 0;
    const bool usual = plain && u.fresh && !u.membrane && !u.seen && !u.stride && u.skips < 2;
    if (usual && u.sums16 && u.skips)
        update_usual<how, reset, overflows, true>(u, u.sums16, active, over);
    else if (usual && u.sums16)
        update_usual<how, reset, overflows, false>(u, u.sums16, active, over);
    else if (usual && u.sums32 && u.skips)
        update_usual<how, reset, overflows, true>(u, u.sums32, active, over);
    else if (usual && u.sums32)
        update_usual<how, reset, overflows, false>(u, u.sums32, active, over);
    else
        update_any<how, reset, overflows>(u, active, over);
    int32_t each[Simd::half];
    Simd::store32(each, active);
    for (int32_t lane : each) given.active += lane;
    given.overflows += over;
}

template <class W>
struct ScatterTable {
    template <int... v>
    static void fill(Scatter<W>* table, std::integer_sequence<int, v...>) {
        ((table[v + 1] = scatter<W, v + 1>), ...);
    }
};

template <int... v>
void fill32(Scatter32* table, std::integer_sequence<int, v...>) {
    ((table[v + 1] = scatter32<v + 1>), ...);
}

template <int how>
void fill_updates(Kernels& k) {
    k.update[how][to_value][0] = update<how, to_value, false>;
    k.update[how][to_value][1] = update<how, to_value, true>;
    k.update[how][by_amount][0] = update<how, by_amount, false>;
    k.update[how][by_amount][1] = update<how, by_amount, true>;
    k.update[how][none][0] = update<how, none, false>;
    k.update[how][none][1] = update<how, none, true>;
}

int64_t roof(const int16_t* array, int64_t size, int64_t passes) {
    constexpr int sums = 8;  // additions that do not wait for one another
    const int16_t* volatile where = array;  // for all the compiler knows another array at each pass
    typename Simd::I16 sum[sums];
    for (int k = 0; k < sums; ++k) sum[k] = Simd::load16(array + k * Simd::lanes);
    for (int64_t pass = 0; pass < passes; ++pass) {
        const int16_t* at = where;
        for (const int16_t* end = at + size; at != end; at += sums * Simd::lanes)
            for (int k = 0; k < sums; ++k) sum[k] = Simd::add16(sum[k], Simd::load16(at + k * Simd::lanes));
    }
    int64_t total = 0;
    int16_t each[Simd::lanes];
    for (int k = 0; k < sums; ++k) {
        Simd::store16(each, sum[k]);
        for (int16_t lane : each) total += lane;
    }
    return total;
}

Kernels make(const char* name, bool narrow) {
    Kernels k{};
    k.name = name;
    k.lanes = Simd::lanes;
    k.narrow = narrow;
    const auto sizes = std::make_integer_sequence<int, max_vectors>{};
    ScatterTable<int8_t>::fill(k.scatter8, sizes);
    ScatterTable<int16_t>::fill(k.scatter16, sizes);
    fill32(k.scatter32, sizes);
    k.decode = decode;
    k.met = met;
    k.count = count;
    k.widen = widen;
    fill_updates<same>(k);
    fill_updates<shifted>(k);
    fill_updates<general>(k);
    k.roof = roof;
    return k;
}
