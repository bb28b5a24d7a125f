// What stands between layers: delays, pools, sums, and weights whose sums only 64 bits hold.
#include "network.h"

#include <algorithm>
#include <limits>

namespace engine {
namespace {

template <class F>
void each_window(int64_t out, int64_t in, int kernel, int stride, int pad, int dilation, F&& f) {
    for (int k = 0; k < kernel; ++k) {
        const int64_t at = out * stride + (int64_t)k * dilation - pad;
        if (at >= 0 && at < in) f(k, at);
    }
}

}  // namespace

void Delay::start(const Network&, Work& w) const { w.state[id].assign((size_t)steps * shape.size(), 0); }

void Delay::run_one(const Network&, Work& w, int from, int to) const {
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

void Stateless::run_one(const Network& net, Work& w, int from, int to) const {
    for (int t = from; t < to; ++t) {
        if (makes_bits) {
            pool_bits(net, w, t);
            continue;
        }
        std::vector<const int64_t*> x;
        for (int source : sources) x.push_back(w.numbers[source].data() + t * net.nodes[source]->shape.size());
        step(net, x, w.numbers[id].data() + t * shape.size(), t);
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

void Stateless::step(const Network& net, const std::vector<const int64_t*>& xs, int64_t* y, int t) const {
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
        case gain:
            for (int64_t e = 0; e < size; ++e) {
                y[e] = rounded(x[e] * weight[t], fraction, net.arithmetic.rounding);
                if (bias) y[e] += bias[t * size + e];
            }
            return;
    }
    if (bias)
        for (int64_t e = 0; e < size; ++e) y[e] += bias[e * bias_step];
}

}  // namespace engine
