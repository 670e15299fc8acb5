// Distances of points to random sets. No launch variables and no headers: the same text is compiled
// by NVRTC, nvcc and, in the tests, by a host compiler.
#pragma once

namespace fastgen {

// Squared distance of two points whose coordinates are `pitch` apart, summed from the first on.
template <typename T>
__device__ __forceinline__ T strided_square(const T* x, const T* y, int d, long long pitch) {
    T total = T(0);
    for (int c = 0; c < d; ++c) {
        const T gap = x[c * pitch] - y[c * pitch];
        total += gap * gap;
    }
    return total;
}

// The least of two distances; a negative one stands for none.
template <typename T>
__device__ __forceinline__ T lesser(T first, T least) {
    return least < T(0) || first < least ? first : least;
}

}  // namespace fastgen
