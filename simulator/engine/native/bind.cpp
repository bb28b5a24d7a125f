// The Python module: a network from plain dictionaries and arrays, and a run over samples and threads.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "network.h"

namespace py = pybind11;

namespace engine {
namespace {

struct Isa {
    const char* name;
    Kernels (*kernels)();
};

std::vector<Isa> usable() {
    std::vector<Isa> found;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("bmi2"))
        found.push_back({"avx512", avx512_kernels});
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) found.push_back({"avx2", avx2_kernels});
#endif
    found.push_back({"portable", portable_kernels});
    return found;
}

// Arrays stay Python's; the network points into them and keeps them alive.
class Owner {
public:
    template <class T>
    const T* array(const py::dict& from, const char* name) {
        if (!from.contains(name) || from[name].is_none()) return nullptr;
        py::object given = from[name];
        if (!py::isinstance<py::array_t<T, py::array::c_style>>(given))
            throw std::invalid_argument(std::string("the plan's ") + name + " is of another type");
        auto held = py::reinterpret_borrow<py::array_t<T, py::array::c_style>>(given);
        kept_.push_back(held);
        return held.data();
    }
    Layer::Parameter parameter(const py::dict& from, const char* name) {
        Layer::Parameter p;
        p.at = array<int64_t>(from, name);
        p.step = p.at && py::len(from[name]) > 1;
        return p;
    }
    void clear() { kept_.clear(); }

private:
    std::vector<py::object> kept_;
};

template <class T>
T get(const py::dict& from, const char* name) {
    return from[name].cast<T>();
}

Synapse synapse_of(const py::dict& d, Owner& own) {
    Synapse s;
    s.source = get<int>(d, "source");
    s.wide = get<bool>(d, "wide");
    s.values = get<bool>(d, "values");
    s.unit_bytes = get<int>(d, "unit_bytes");
    s.channels = get<int>(d, "channels");
    s.classes = get<int>(d, "classes");
    s.blocks = get<int>(d, "blocks");
    s.units = own.array<int32_t>(d, "units");
    s.places = own.array<int32_t>(d, "places");
    s.class_start = own.array<int32_t>(d, "class_start");
    s.part_first = own.array<int32_t>(d, "part_first");
    s.part_bytes = own.array<int32_t>(d, "part_bytes");
    s.piece_bytes = get<int>(d, "piece_bytes");
    s.parts = (int)py::len(d["part_first"]);
    s.distances = get<std::vector<std::vector<int32_t>>>(d, "distances");
    s.weight_bytes = get<int>(d, "weight_bytes");
    const auto table = d["table"].cast<py::array>();
    if (table.itemsize() != s.weight_bytes) throw std::invalid_argument("the plan's table is of another type");
    const auto* bytes = static_cast<const uint8_t*>(table.data());
    s.table.assign(bytes, bytes + table.nbytes());
    s.table_at = own.array<int64_t>(d, "table_at");
    s.fan_classes = get<int>(d, "fan_classes");
    s.fan_class = own.array<int32_t>(d, "fan_class");
    s.fan_stored = own.array<int64_t>(d, "fan_stored");
    s.fan_nonzero = own.array<int64_t>(d, "fan_nonzero");
    const int32_t* offsets = own.array<int32_t>(d, "offsets");
    for (auto sizes : get<std::vector<std::vector<int>>>(d, "chunks")) {
        std::vector<Chunk> chunks;
        for (int vectors : sizes) {
            if (vectors < 1 || vectors > max_vectors) throw std::invalid_argument("a chunk of too many vectors");
            chunks.push_back({vectors, offsets});
            offsets += vectors;
            ++s.table_chunks;
        }
        s.chunks.push_back(chunks);
    }
    return s;
}

std::unique_ptr<Node> layer_of(const py::dict& d, Owner& own) {
    auto layer = std::make_unique<Layer>();
    Layer& n = *layer;
    n.sums_only = get<bool>(d, "sums");
    n.fires = get<bool>(d, "fires");
    n.fast = get<bool>(d, "fast");
    n.current = get<int>(d, "current");
    for (auto s : d["synapses"]) n.synapses.push_back(synapse_of(s.cast<py::dict>(), own));
    for (auto s : d["skips"]) {
        auto skip = s.cast<py::dict>();
        n.skips.push_back({get<int>(skip, "source"), own.array<int32_t>(skip, "weight"), get<int64_t>(skip, "stride")});
    }
    n.rows = get<int>(d, "rows");
    n.columns = get<int>(d, "columns");
    n.block = get<int>(d, "block");
    n.blocks = get<int>(d, "blocks");
    n.padded_rows = get<int>(d, "padded_rows");
    n.padded_columns = get<int>(d, "padded_columns");
    n.top = get<int>(d, "top");
    n.before = get<int>(d, "before");
    n.may_flush = get<bool>(d, "may_flush");
    n.safe_events = get<int64_t>(d, "safe_events");
    if (n.sums_only) return layer;
    n.shift = get<int>(d, "shift");
    if (n.fast) {
        n.stride = get<int64_t>(d, "stride");
        n.width = get<int>(d, "width");
        n.threshold = own.array<int32_t>(d, "fast_threshold");
        n.flip = own.array<int32_t>(d, "fast_flip");
        n.bias = own.array<int32_t>(d, "fast_bias");
        n.input_bias = own.array<int32_t>(d, "fast_input_bias");
        n.amount = own.array<int32_t>(d, "fast_amount");
        n.rest = own.array<int32_t>(d, "fast_rest");
        n.init = own.array<int32_t>(d, "fast_init");
        n.decay = own.array<double>(d, "fast_decay");
        n.how = get<int>(d, "how");
        n.decay_shift = get<int>(d, "decay_shift");
        n.may_overflow = get<bool>(d, "may_overflow");
        n.keep = get<bool>(d, "keep");
    }
    n.reset = get<int>(d, "reset");
    n.p_decay = own.parameter(d, "decay");
    n.p_bias = own.parameter(d, "bias");
    if (n.fires) {
        n.p_threshold = own.parameter(d, "threshold");
        n.p_negative = own.parameter(d, "negative");
        n.has_negative = n.p_negative.at != nullptr;
        n.p_flip = own.parameter(d, "flip");
        n.p_current = own.parameter(d, "current_decay");
        n.p_input_bias = own.parameter(d, "input_bias");
        n.p_rest = own.parameter(d, "rest");
        n.p_amount = own.parameter(d, "amount");
        n.p_keep = own.parameter(d, "keep_after");
        n.p_init = own.parameter(d, "init");
        n.strict = get<bool>(d, "strict");
        n.refractory = get<int>(d, "refractory");
        n.deaf = get<bool>(d, "deaf");
        n.max_spikes = get<int64_t>(d, "max_spikes");
    }
    return layer;
}

std::unique_ptr<Node> stateless_of(const py::dict& d, Owner& own) {
    auto node = std::make_unique<Stateless>();
    node->kind = (Stateless::Kind)get<int>(d, "kind");
    node->sources = get<std::vector<int>>(d, "sources");
    node->weight = own.array<int64_t>(d, "weight");
    node->weight_step = node->weight && py::len(d["weight"]) > 1;
    node->bias = own.array<int64_t>(d, "bias");
    node->bias_step = node->bias && py::len(d["bias"]) > 1;
    node->fraction = get<int>(d, "fraction");
    node->groups = get<int>(d, "groups");
    node->axis_outer = get<int>(d, "outer");
    node->inner = get<std::vector<int64_t>>(d, "inner");
    node->in = get<std::array<int, 2>>(d, "in");
    node->out = get<std::array<int, 2>>(d, "out");
    node->kernel = get<std::array<int, 2>>(d, "kernel");
    node->stride = get<std::array<int, 2>>(d, "stride");
    node->pad = get<std::array<int, 2>>(d, "pad");
    node->dilation = get<std::array<int, 2>>(d, "dilation");
    return node;
}

// Where the results of a run go: arrays of Python's, [samples][...].
struct Results {
    std::vector<std::pair<int, int64_t*>> numbers;  // of a node, [samples][steps][size]
    std::vector<std::pair<int, int8_t*>> spikes;
    std::vector<std::array<int64_t*, 2>> traces;  // h and what is left of it
    std::vector<int> traced;
    int64_t *counted = nullptr, *overflows = nullptr;  // [samples][layers][counts], [samples]
    std::vector<int> layers;
};

class Engine {
public:
    Engine(const py::dict& plan, const std::string& isa) {
        bool known = false;
        for (const Isa& each : usable())
            if (each.name == isa) net_.kernels = each.kernels(), known = true;
        if (!known) throw std::invalid_argument("this machine has no " + isa);
        net_.steps = get<int>(plan, "steps");
        auto a = plan["arithmetic"].cast<py::dict>();
        net_.arithmetic = {get<int>(a, "fraction"),         get<int>(a, "rounding"),
                           get<int>(a, "overflow"),         get<int>(a, "current_overflow"),
                           get<bool>(a, "current_held"),    get<int64_t>(a, "least"),
                           get<int64_t>(a, "most"),         get<int64_t>(a, "current_least"),
                           get<int64_t>(a, "current_most"), get<bool>(a, "graded")};
        for (auto item : plan["nodes"]) {
            auto d = item.cast<py::dict>();
            const auto kind = get<std::string>(d, "node");
            std::unique_ptr<Node> node;
            if (kind == "input") {
                node = std::make_unique<Input>();
                net_.inputs.push_back((int)net_.nodes.size());
            } else if (kind == "layer") {
                node = layer_of(d, own_);
            } else if (kind == "delay") {
                auto delay = std::make_unique<Delay>();
                delay->source = get<int>(d, "source");
                delay->steps = get<int>(d, "delay");
                node = std::move(delay);
            } else {
                node = stateless_of(d, own_);
            }
            node->id = (int)net_.nodes.size();
            node->shape = {get<int>(d, "channels"), get<int>(d, "pixels"), get<int>(d, "bytes")};
            node->bits = get<bool>(d, "bits");
            node->numbers = get<bool>(d, "numbers");
            node->makes_bits = get<bool>(d, "makes_bits");
            net_.nodes.push_back(std::move(node));
        }
        for (auto item : plan["fans"]) {
            auto d = item.cast<py::dict>();
            net_.fans.push_back({get<int>(d, "source"), get<int>(d, "layer"), own_.array<int64_t>(d, "stored"),
                                 own_.array<int64_t>(d, "nonzero"), get<bool>(d, "uniform")});
        }
        for (auto item : plan["schedule"]) {
            auto group = item.cast<py::tuple>();
            net_.schedule.push_back({group[0].cast<std::vector<int>>(), group[1].cast<bool>()});
        }
    }

    std::string isa() const { return net_.kernels.name; }

    // inputs: (array [samples][steps or 1][size]) in the order of the plan's; into: see Results.
    void run(const std::vector<py::array_t<int64_t, py::array::c_style>>& inputs, const py::dict& into, int threads,
             std::shared_ptr<Team> stream, const py::object& progress) {
        Results results = results_of(into);
        const int64_t samples = inputs.empty() ? 0 : inputs[0].shape(0);
        std::vector<const int64_t*> data;
        std::vector<int> steps;
        for (const auto& x : inputs) {
            data.push_back(x.data());
            steps.push_back((int)x.shape(1));
        }
        std::atomic<int64_t> next{0}, done{0};
        std::atomic<bool> stop{false};
        std::exception_ptr failed;
        std::mutex guard;
        std::condition_variable changed;
        int working = 0;
        const int64_t wanted = stream ? 1 : std::min<int64_t>(std::max(threads, 1), samples);
        const int64_t together = stream ? 1 : std::min<int64_t>(net_.together(), (samples + wanted - 1) / std::max<int64_t>(wanted, 1));
        auto take = [&](Team& team) {
            for (int64_t n; !stop && (n = next.fetch_add(together)) < samples;) {
                team.grow((int)std::min(together, samples - n));
                std::vector<const int64_t*> given;
                for (size_t k = 0; k < data.size(); ++k)
                    given.push_back(data[k] + n * steps[k] * net_.nodes[net_.inputs[k]]->shape.size());
                for (int k = 0; k < team.count; ++k) team[k].tracing = !results.traced.empty();
                net_.run(team, given, steps, (bool)stream);
                for (int k = 0; k < team.count; ++k) store(team[k], results, n + k);
                done += team.count;
            }
        };
        auto guarded = [&](Team& team) {
            try {
                take(team);
            } catch (...) {
                std::lock_guard<std::mutex> lock(guard);
                failed = std::current_exception();
                stop = true;
            }
        };
        int64_t told = 0;
        auto tell = [&] {  // with Python's lock
            if (PyErr_CheckSignals() != 0) {
                stop = true;
                return false;
            }
            const int64_t now = done;
            if (!progress.is_none() && now > told) progress(now - told);
            told = now;
            return true;
        };
        // Teams are taken out while Python's lock is held, so that runs of several Python threads share none.
        std::vector<std::shared_ptr<Team>> teams;
        while (stream ? teams.empty() : (int64_t)teams.size() < wanted) {
            if (stream) {
                teams.push_back(stream);
            } else if (idle_.empty()) {
                teams.push_back(std::make_shared<Team>());
            } else {
                teams.push_back(idle_.back());
                idle_.pop_back();
            }
        }
        const auto give_back = [&] {
            if (!stream) idle_.insert(idle_.end(), teams.begin(), teams.end());
        };
        if (wanted <= 1 && samples == 1) {  // one sample is not worth a thread
            py::gil_scoped_release release;
            guarded(*teams[0]);
        } else {
            std::vector<std::thread> crew;
            working = (int)wanted;
            for (int64_t k = 0; k < wanted; ++k)
                crew.emplace_back([&, k] {
                    guarded(*teams[k]);
                    std::lock_guard<std::mutex> lock(guard);
                    --working;
                    changed.notify_one();
                });
            bool good = true;
            std::exception_ptr raised;
            for (bool over = false; !over;) {
                {
                    py::gil_scoped_release release;
                    std::unique_lock<std::mutex> lock(guard);
                    over = changed.wait_for(lock, std::chrono::milliseconds(50), [&] { return working == 0; });
                }
                if (!good || over) continue;
                try {
                    good = tell();
                } catch (...) {
                    raised = std::current_exception();
                    stop = true;
                    good = false;
                }
            }
            for (auto& each : crew) each.join();
            if (raised || !good) give_back();
            if (raised) std::rethrow_exception(raised);
            if (!good) throw py::error_already_set();
        }
        give_back();
        if (failed) std::rethrow_exception(failed);
        if (!tell()) throw py::error_already_set();
    }

    std::shared_ptr<Team> stream() const { return std::make_shared<Team>(); }

    bool timing() const { return net_.timing; }

    void set_timing(bool on) {
        net_.timing = on;
        if (on)
            for (auto& team : idle_) team->elapsed.clear();
    }

    // Nanoseconds in each node since timing was switched on, of all threads together.
    std::vector<int64_t> elapsed() const {
        std::vector<int64_t> total(net_.nodes.size());
        for (const auto& team : idle_)
            for (size_t k = 0; k < team->elapsed.size(); ++k) total[k] += team->elapsed[k];
        return total;
    }

private:
    template <class T>
    static T* writable(const py::handle& given) {
        auto array = py::reinterpret_borrow<py::array>(given);
        if (!py::isinstance<py::array_t<T, py::array::c_style>>(array)) throw std::invalid_argument("a result's type");
        return static_cast<T*>(array.mutable_data());
    }

    static Results results_of(const py::dict& into) {
        Results r;
        for (auto item : into["numbers"].cast<py::list>()) {
            auto pair = item.cast<py::tuple>();
            r.numbers.emplace_back(pair[0].cast<int>(), writable<int64_t>(pair[1]));
        }
        for (auto item : into["spikes"].cast<py::list>()) {
            auto pair = item.cast<py::tuple>();
            r.spikes.emplace_back(pair[0].cast<int>(), writable<int8_t>(pair[1]));
        }
        for (auto item : into["traces"].cast<py::list>()) {
            auto triple = item.cast<py::tuple>();
            r.traced.push_back(triple[0].cast<int>());
            r.traces.push_back({writable<int64_t>(triple[1]), writable<int64_t>(triple[2])});
        }
        r.layers = into["layers"].cast<std::vector<int>>();
        r.counted = writable<int64_t>(into["counted"]);
        r.overflows = writable<int64_t>(into["overflows"]);
        return r;
    }

    void store(const Work& w, const Results& r, int64_t sample) const {
        for (auto [id, into] : r.numbers) {
            const int64_t size = net_.steps * net_.nodes[id]->shape.size();
            std::copy_n(w.numbers[id].data(), size, into + sample * size);
        }
        for (auto [id, into] : r.spikes) {
            const Node& node = *net_.nodes[id];
            const Shape& s = node.shape;
            int8_t* out = into + sample * net_.steps * s.size();
            for (int t = 0; t < net_.steps; ++t, out += s.size()) {
                if (!node.makes_bits) {
                    for (int64_t e = 0; e < s.size(); ++e) out[e] = (int8_t)w.numbers[id][t * s.size() + e];
                    continue;
                }
                const uint8_t* bits = net_.bits_of(w, id, t);
                for (int c = 0; c < s.channels; ++c)
                    for (int p = 0; p < s.pixels; ++p)
                        out[(int64_t)c * s.pixels + p] = bits[(int64_t)p * s.bytes + c / 8] >> (c % 8) & 1;
            }
        }
        for (size_t k = 0; k < r.traced.size(); ++k) {
            const int id = r.traced[k];
            const auto* layer = dynamic_cast<const Layer*>(net_.nodes[id].get());
            const Shape& s = layer->shape;
            const int64_t size = net_.steps * s.size();
            for (int which = 0; which < 2; ++which) {
                int64_t* out = r.traces[k][which] + sample * size;
                if (!layer->fast) {
                    std::copy_n((which ? w.left_numbers : w.seen_numbers)[id].data(), size, out);
                    continue;
                }
                const int32_t* from = (which ? w.left : w.seen)[id].data();
                for (int t = 0; t < net_.steps; ++t)
                    for (int c = 0; c < s.channels; ++c)
                        for (int p = 0; p < s.pixels; ++p)
                            *out++ = from[((int64_t)t * s.pixels + p) * layer->width + c];
            }
        }
        for (size_t k = 0; k < r.layers.size(); ++k)
            std::copy_n(w.counted[r.layers[k]].data(), (int)counts,
                        r.counted + (sample * (int64_t)r.layers.size() + (int64_t)k) * counts);
        r.overflows[sample] = w.overflows;
    }

    Network net_;
    Owner own_;
    std::vector<std::shared_ptr<Team>> idle_;  // for the next run
};

double roof_of(const std::string& isa, double seconds) {
    for (const Isa& each : usable()) {
        if (each.name != isa) continue;
        py::gil_scoped_release release;
        const Kernels k = each.kernels();
        constexpr int64_t size = 8192, passes = 1000;  // 16 KiB
        const Lines<int16_t> array(size, 1);
        int64_t done = 0;
        volatile int64_t total = 0;
        const auto start = std::chrono::steady_clock::now();
        for (;;) {
            total = total + k.roof(array.data(), size, passes);
            done += passes * size;
            const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
            if (elapsed.count() >= seconds) return (double)done / elapsed.count() / 1e9;
        }
    }
    throw std::invalid_argument("this machine has no " + isa);
}

}  // namespace
}  // namespace engine

PYBIND11_MODULE(_native, m) {
    using namespace engine;
    fill_byte_indices();
    m.doc() = "The compiled part of the functional engine.";
    m.attr("MAX_VECTORS") = max_vectors;
    py::dict lanes, narrow;
    py::list isas;
    for (const Isa& each : usable()) {
        const Kernels k = each.kernels();
        isas.append(each.name);
        lanes[each.name] = k.lanes;
        narrow[each.name] = k.narrow;
    }
    m.attr("ISAS") = isas;      // best first
    m.attr("LANES") = lanes;    // 16-bit sums in a register
    m.attr("NARROW") = narrow;  // whether weights are best kept as bytes
    py::class_<Team, std::shared_ptr<Team>>(m, "Stream");
    py::class_<Engine>(m, "Engine")
        .def(py::init<const py::dict&, const std::string&>())
        .def_property_readonly("isa", &Engine::isa)
        .def("stream", &Engine::stream)
        .def("run", &Engine::run)
        .def_property("timing", &Engine::timing, &Engine::set_timing)
        .def("elapsed", &Engine::elapsed);
    m.def("roof", &roof_of, py::arg("isa"), py::arg("seconds"), "Giga-additions of 16 bits a second, at best.");
}
