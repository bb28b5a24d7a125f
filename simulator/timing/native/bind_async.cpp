// Asynchronous chips in the Python module: chips, networks and spikes from NumPy arrays, records as NumPy arrays.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>

#include "async_chip.h"

namespace py = pybind11;
using namespace async_chip;

namespace {

void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

template <class T>
std::vector<T> vector_of(const py::dict& from, const char* name) {
    const auto array = py::array_t<T, py::array::c_style | py::array::forcecast>::ensure(from[name]);
    if (!array) throw std::invalid_argument(std::string(name) + " is no array of numbers");
    return std::vector<T>(array.data(), array.data() + array.size());
}

void check_first(const std::vector<int64_t>& first, size_t count, size_t end, const char* what) {
    bool sorted = first.size() == count + 1 && first.front() == 0 && (size_t)first.back() == end;
    for (size_t k = 1; sorted && k < first.size(); ++k) sorted = first[k - 1] <= first[k];
    if (!sorted) throw std::invalid_argument(std::string(what) + " does not divide what it should");
}

int64_t number_of(const py::dict& d, const char* name, int64_t least) {
    const auto value = d[name].cast<int64_t>();
    if (value < least) throw std::invalid_argument(std::string(name) + " is too small");
    return value;
}

Costs costs_of(const py::dict& d) {
    Costs costs;
    costs.access = number_of(d, "access", 0), costs.update = number_of(d, "update", 0);
    costs.spike = number_of(d, "spike", 0), costs.message_out = number_of(d, "message_out", 0);
    const char* hops[] = {"hop_north", "hop_east", "hop_south", "hop_west"};
    for (int k = 0; k < directions; ++k) {
        costs.hop[k] = number_of(d, hops[k], 0);
        costs.cycle[k] = number_of(d, "link_cycle", 1);
    }
    costs.tile = number_of(d, "tile", 0), costs.tile_cycle = number_of(d, "link_cycle", 1);
    costs.barrier = number_of(d, "barrier", 0);
    return costs;
}

Mesh mesh_of(const py::dict& d) {
    Mesh mesh;
    mesh.width = (int)number_of(d, "width", 1), mesh.height = (int)number_of(d, "height", 1);
    mesh.cores_per_tile = (int)number_of(d, "cores_per_tile", 1);
    mesh.link_depth = (int)number_of(d, "link_depth", 1), mesh.core_depth = (int)number_of(d, "core_depth", 1);
    require((int64_t)mesh.tiles() * mesh.ports() < (1 << 24), "the mesh is too large");
    return mesh;
}

Chip chip_of(const py::dict& d, const Mesh& mesh) {
    Chip chip;
    chip.core_x = vector_of<int32_t>(d, "core_x"), chip.core_y = vector_of<int32_t>(d, "core_y");
    chip.core_port = vector_of<int32_t>(d, "core_port");
    const size_t n = chip.core_x.size();
    require(n > 0 && n < (1 << 16) && chip.core_y.size() == n && chip.core_port.size() == n, "a place for each core");
    std::vector<uint8_t> taken((size_t)(mesh.tiles() * mesh.cores_per_tile));
    for (size_t c = 0; c < n; ++c) {
        const int x = chip.core_x[c], y = chip.core_y[c], port = chip.core_port[c];
        require(x >= 0 && x < mesh.width && y >= 0 && y < mesh.height && port >= 0 && port < mesh.cores_per_tile,
                "a core is not on the mesh");
        require(!taken[(x * mesh.height + y) * mesh.cores_per_tile + port]++, "two cores have one place");
    }
    chip.neuron_first = vector_of<int64_t>(d, "neuron_first");
    chip.axon_first = vector_of<int64_t>(d, "axon_first");
    chip.axon_core = vector_of<int32_t>(d, "axon_core");
    chip.axon_time = vector_of<int64_t>(d, "axon_time");
    require(!chip.axon_first.empty(), "axon_first is empty");
    check_first(chip.neuron_first, n, chip.axon_first.size() - 1, "neuron_first");
    check_first(chip.axon_first, chip.axon_first.size() - 1, chip.axon_core.size(), "axon_first");
    chip.axon_seconds = vector_of<double>(d, "axon_seconds");
    require(chip.axon_time.size() == chip.axon_core.size(), "a time for each axon");
    for (size_t a = 0; a < chip.axon_core.size(); ++a) {
        require(chip.axon_core[a] >= 0 && (size_t)chip.axon_core[a] < n, "there is no such core");
        require(chip.axon_time[a] >= 0 && chip.axon_time[a] <= std::numeric_limits<int32_t>::max(),
                "a message keeps its core busy for more than two milliseconds");
    }
    chip.columns = (int)number_of(d, "columns", 0);
    chip.causes = vector_of<int64_t>(d, "causes");
    require(chip.causes.size() == (size_t)(chip.neurons() * chip.columns), "what each neuron's firing causes");
    return chip;
}

Network network_of(const py::dict& d, int64_t neurons) {
    Network network;
    network.number = vector_of<int64_t>(d, "number");
    const size_t n = network.number.size();
    require((int64_t)n == neurons && n < (size_t)std::numeric_limits<int32_t>::max(), "the chip's neurons");
    std::vector<uint8_t> seen(n);
    for (const int64_t number : network.number)
        require(number >= 0 && number < (int64_t)n && !seen[number]++, "each of the chip's neurons once");
    network.threshold = vector_of<int32_t>(d, "threshold"), network.bias = vector_of<int32_t>(d, "bias");
    network.reset = vector_of<int32_t>(d, "reset"), network.start = vector_of<int32_t>(d, "start");
    network.subtracts = vector_of<uint8_t>(d, "subtracts");
    for (size_t size : {network.threshold.size(), network.bias.size(), network.reset.size(), network.start.size(),
                        network.subtracts.size()})
        require(size == n, "a number for each neuron");
    network.synapse_first = vector_of<int64_t>(d, "synapse_first");
    network.target = vector_of<int32_t>(d, "target"), network.weight = vector_of<int32_t>(d, "weight");
    check_first(network.synapse_first, n, network.target.size(), "synapse_first");
    require(network.weight.size() == network.target.size(), "a weight for each synapse");
    for (const int32_t target : network.target) require(target >= 0 && (size_t)target < n, "there is no such neuron");
    return network;
}

Spikes spikes_of(const py::dict& d, int64_t neurons) {
    Spikes spikes;
    spikes.count = number_of(d, "count", 0);
    spikes.fired_first = vector_of<int64_t>(d, "fired_first"), spikes.fired = vector_of<int64_t>(d, "fired");
    check_first(spikes.fired_first, (size_t)spikes.count, spikes.fired.size(), "fired_first");
    if (d.contains("active")) {
        spikes.active_first = vector_of<int64_t>(d, "active_first"), spikes.active = vector_of<int64_t>(d, "active");
        check_first(spikes.active_first, (size_t)spikes.count, spikes.active.size(), "active_first");
    }
    for (const auto* numbers : {&spikes.fired, &spikes.active})
        for (const int64_t number : *numbers) require(number >= 0 && number < neurons, "there is no such neuron");
    return spikes;
}

template <class T>
py::array_t<T> array_of(const std::vector<T>& values, std::vector<py::ssize_t> shape = {}) {
    if (shape.empty()) shape = {(py::ssize_t)values.size()};
    py::array_t<T> array(shape);
    std::copy(values.begin(), values.end(), array.mutable_data());
    return array;
}

class Asynchronous {
public:
    Asynchronous(const py::dict& costs, const py::dict& mesh, const py::dict& chip, const std::string& routing, int threads)
        : Asynchronous(costs, mesh_of(mesh), chip_of(chip, mesh_of(mesh)), routing, threads) {}

    Asynchronous(const py::dict& costs, const Mesh& mesh, Chip chip, const std::string& routing, int threads)
        : mesh_(mesh), cores_(chip.cores()), columns_(chip.columns), neurons_(chip.neurons()),
          simulator_(costs_of(costs), mesh_, std::move(chip), routing == "density"  ? density
                     : routing == "sanafe" ? sanafe
                                           : links,
                     std::min(std::max(threads, 1), 64)) {
        require(routing == "density" || routing == "links" || routing == "sanafe", "there is no such routing");
    }

    void simulate(const py::dict& network) {
        simulator_.simulate(network_of(network, neurons_));
        simulates_ = true;
    }

    py::dict run(int64_t steps, bool events) {
        require(simulates_, "there is no network to be simulated");
        require(steps >= 0, "steps are negative");
        Record record;
        {
            py::gil_scoped_release release;
            record = simulator_.run(steps, events);
        }
        return dict_of(record);
    }

    py::dict replay(const py::dict& d, bool events) {
        const Spikes spikes = spikes_of(d, neurons_);
        Record record;
        {
            py::gil_scoped_release release;
            record = simulator_.run(spikes, events);
        }
        return dict_of(record);
    }

private:
    py::dict dict_of(const Record& r) const {
        const auto steps = (py::ssize_t)r.start.size(), cores = cores_;
        const py::ssize_t tiles = mesh_.tiles(), ports = mesh_.ports();
        py::dict found;
        for (auto [name, values] : {std::pair{"start", &r.start}, {"quiet", &r.quiet}, {"updated", &r.updated},
                                    {"fired", &r.fired}, {"fires", &r.fires}, {"computing", &r.computing},
                                    {"working", &r.working}, {"blocked", &r.blocked}})
            found[name] = array_of(*values);
        found["causes"] = array_of(r.causes, {steps, columns_});
        found["idle"] = array_of(r.idle, {steps, cores});
        for (auto [name, values] : {std::pair{"messages", &r.messages}, {"busy", &r.busy}, {"waiting", &r.waiting}})
            found[name] = array_of(*values, {tiles, ports});
        found["spikes"] = array_of(r.spikes, {(py::ssize_t)r.spikes.size() / 2, 2});
        py::array_t<int64_t> events({(py::ssize_t)r.events.size(), (py::ssize_t)8});
        int64_t* into = events.mutable_data();
        for (const Event& e : r.events)
            for (int64_t each : {e.step, e.neuron, e.axon, e.ready, e.entered, e.arrived, e.taken, e.done}) *into++ = each;
        found["events"] = events;
        return found;
    }

    Mesh mesh_;
    py::ssize_t cores_, columns_;
    int64_t neurons_;
    Simulator simulator_;
    bool simulates_ = false;
};

}  // namespace

void bind_async(py::module_& m) {
    py::register_exception<Stuck>(m, "AsynchronousStuck", PyExc_RuntimeError);
    py::class_<Asynchronous>(m, "Asynchronous")
        .def(py::init<const py::dict&, const py::dict&, const py::dict&, const std::string&, int>(),
             py::arg("costs"), py::arg("mesh"), py::arg("chip"), py::arg("routing"), py::arg("threads"))
        .def("simulate", &Asynchronous::simulate, py::arg("network"))
        .def("run", &Asynchronous::run, py::arg("steps"), py::arg("events"))
        .def("replay", &Asynchronous::replay, py::arg("spikes"), py::arg("events"));
}
