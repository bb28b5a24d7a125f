// The Python module: chips and steps from NumPy arrays, records as NumPy arrays.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <array>

#include "nc1.h"

namespace py = pybind11;
using namespace nc1;

namespace {

template <class T>
std::vector<T> vector_of(const py::dict& from, const char* name) {
    const auto array = py::array_t<T, py::array::c_style | py::array::forcecast>::ensure(from[name]);
    if (!array) throw std::invalid_argument(std::string(name) + " is no array of numbers");
    return std::vector<T>(array.data(), array.data() + array.size());
}

std::vector<Entry> entries_of(const py::dict& from, const char* core, const char* axon) {
    const auto cores = vector_of<int32_t>(from, core), axons = vector_of<int32_t>(from, axon);
    if (cores.size() != axons.size()) throw std::invalid_argument("an axon for each core");
    std::vector<Entry> found(cores.size());
    for (size_t k = 0; k < found.size(); ++k) found[k] = {cores[k], axons[k]};
    return found;
}

template <class T>
void check_first(const std::vector<T>& first, size_t count, size_t end, const char* what) {
    bool sorted = first.size() == count + 1 && first.front() == 0 && (size_t)first.back() == end;
    for (size_t k = 1; sorted && k < first.size(); ++k) sorted = first[k - 1] <= first[k];
    if (!sorted) throw std::invalid_argument(std::string(what) + " does not divide what it should");
}

Parameters parameters_of(const py::dict& d) {
    Parameters p;
    auto get = [&](const char* name) {
        const int value = d[name].cast<int>();
        if (value < (std::string(name) == "barrier" ? 0 : 1)) throw std::invalid_argument(std::string(name) + " is too small");
        return value;
    };
    p.mesh_x = get("mesh_x"), p.mesh_y = get("mesh_y"), p.lanes = get("lanes");
    p.router_depth = get("router_depth"), p.input_depth = get("input_depth"), p.spike_depth = get("spike_depth");
    p.barrier = get("barrier");
    return p;
}

Chip chip_of(const py::dict& d, const Parameters& p) {
    Chip chip;
    const size_t n = p.cores();
    chip.groups = vector_of<int32_t>(d, "groups");
    if (chip.groups.size() != n) throw std::invalid_argument("groups for each core");
    chip.neuron_first = vector_of<int64_t>(d, "neuron_first");
    chip.axon_first = vector_of<int64_t>(d, "axon_first");
    chip.entry_first = vector_of<int64_t>(d, "entry_first");
    chip.words = vector_of<int32_t>(d, "words");
    chip.entries = entries_of(d, "entry_core", "entry_axon");
    check_first(chip.neuron_first, n, chip.entry_first.size() - 1, "neuron_first");
    check_first(chip.axon_first, n, chip.words.size(), "axon_first");
    check_first(chip.entry_first, chip.entry_first.size() - 1, chip.entries.size(), "entry_first");
    for (size_t c = 0; c < n; ++c)
        if ((int64_t)chip.groups[c] * p.lanes > chip.neuron_first[c + 1] - chip.neuron_first[c])
            throw std::invalid_argument("a core has more groups than neurons");
    return chip;
}

void check_entries(const std::vector<Entry>& entries, const Chip& chip) {
    for (const Entry& each : entries) {
        if (each.core < 0) continue;
        if ((size_t)each.core + 1 >= chip.axon_first.size()) throw std::invalid_argument("there is no such core");
        if (each.axon < 0 || each.axon >= chip.axon_first[each.core + 1] - chip.axon_first[each.core])
            throw std::invalid_argument("a core has no such axon");
    }
}

template <class T>
py::array_t<T> array_of(const std::vector<T>& values, std::vector<py::ssize_t> shape = {}) {
    if (shape.empty()) shape = {(py::ssize_t)values.size()};
    py::array_t<T> array(shape);
    std::copy(values.begin(), values.end(), array.mutable_data());
    return array;
}

template <size_t columns, class T, class F>
py::array_t<int64_t> rows_of(const std::vector<T>& values, F&& row) {
    py::array_t<int64_t> array({(py::ssize_t)values.size(), (py::ssize_t)columns});
    int64_t* into = array.mutable_data();
    for (const T& value : values)
        for (int64_t each : row(value)) *into++ = each;
    return array;
}

class Nc1 {
public:
    Nc1(const py::dict& parameters, const py::dict& chip)
        : p_(parameters_of(parameters)), chip_(chip_of(chip, p_)), simulator_(p_, chip_) {
        check_entries(chip_.entries, chip_);
    }

    py::dict run(const py::dict& d, bool events, int64_t limit) {
        Steps steps;
        const size_t n = p_.cores();
        steps.count = d["count"].cast<int>();
        steps.vector_first = vector_of<int64_t>(d, "vector_first");
        steps.group = vector_of<int32_t>(d, "group");
        steps.bits = vector_of<uint32_t>(d, "bits");
        steps.host_first = vector_of<int64_t>(d, "host_first");
        steps.host = entries_of(d, "host_core", "host_axon");
        check_first(steps.vector_first, steps.count * n, steps.group.size(), "vector_first");
        check_first(steps.host_first, steps.count, steps.host.size(), "host_first");
        if (steps.bits.size() != steps.group.size()) throw std::invalid_argument("bits for each group");
        for (size_t k = 0; k < steps.count * n; ++k)
            for (int64_t v = steps.vector_first[k]; v < steps.vector_first[k + 1]; ++v) {
                const bool behind = v == steps.vector_first[k] || steps.group[v] > steps.group[v - 1];
                if (!behind || steps.group[v] < 0 || steps.group[v] >= chip_.groups[k % n] || !steps.bits[v])
                    throw std::invalid_argument("the groups that fire must be the core's, in order, and fire");
            }
        check_entries(steps.host, chip_);
        Record r;
        {
            py::gil_scoped_release release;
            r = simulator_.run(steps, events, limit);
        }
        const py::ssize_t cores = (py::ssize_t)n;
        py::dict found;
        found["step_start"] = array_of(r.step_start);
        found["step_quiet"] = array_of(r.step_quiet);
        found["idle"] = array_of(r.idle, {steps.count, cores});
        for (auto [name, values] : {std::pair{"words", &r.words}, {"stalled", &r.stalled}, {"blocked", &r.blocked}})
            found[name] = array_of(*values);
        found["flits"] = array_of(r.flits, {cores, 5});
        found["waiting"] = array_of(r.waiting, {cores, 5});
        found["fullest"] = array_of(r.fullest, {cores, 5});
        found["hops"] = r.hops;
        found["fired"] = rows_of<3>(r.fired, [](const Fired& f) { return std::array<int64_t, 3>{f.cycle, f.core, f.group}; });
        found["crossings"] =
            rows_of<3>(r.crossings, [](const Crossing& c) { return std::array<int64_t, 3>{c.cycle, c.router, c.output}; });
        found["events"] = rows_of<6>(r.events, [](const Event& e) {
            return std::array<int64_t, 6>{e.entered, e.left, e.from, e.to, e.axon, e.step};
        });
        return found;
    }

private:
    Parameters p_;
    Chip chip_;
    Simulator simulator_;
};

}  // namespace

void bind_async(py::module_& m);

PYBIND11_MODULE(_native, m) {
    m.doc() = "Timing simulators.";
    py::register_exception<Stuck>(m, "Stuck", PyExc_RuntimeError);
    py::class_<Nc1>(m, "Nc1")
        .def(py::init<const py::dict&, const py::dict&>(), py::arg("parameters"), py::arg("chip"))
        .def("run", &Nc1::run, py::arg("steps"), py::arg("events"), py::arg("limit"));
    bind_async(m);
}
