// Kernel density sums: the Gaussian kernel, and where things are.
#pragma once

namespace fastgen {

// Kernels beyond this many bandwidths change no smoothed logarithm by 1e-14.
constexpr double NEAR = 8.6;

template <typename T>
__device__ __forceinline__ T gaussian(T difference, T width) {
    const T t = difference / width;
    return exp(T(-0.5) * t * t);
}

// The block that holds a point; there are few blocks.
__device__ __forceinline__ int block_of(const long long* starts, int n_blocks, long long point) {
    int block = 0;
    while (block + 1 < n_blocks && starts[block + 1] <= point) ++block;
    return block;
}

// Sum over the grid of kernels times logarithms, which are `pitch` apart.
template <typename T>
__device__ __forceinline__ T smooth(const T* logs, int n_grid, int pitch, T origin, T step, T width,
                                    T value) {
    const T low = floor((value - T(NEAR) * width - origin) / step);
    const T high = ceil((value + T(NEAR) * width - origin) / step);
    const int first = low > T(0) ? int(low) : 0;
    const int last = high < T(n_grid - 1) ? int(high) : n_grid - 1;
    T total = T(0);
    for (int a = first; a <= last; ++a) {
        total += gaussian(value - (origin + T(a) * step), width) * logs[(long long)a * pitch];
    }
    return total * step / (width * T(2.5066282746310002));
}

}  // namespace fastgen
