// Gaussian weights of a finite set. No launch variables and no headers: the same text is compiled by
// NVRTC, nvcc and, in the tests, by a host compiler.
#pragma once

namespace fastgen {

// Squared distance of a point with consecutive coordinates to one whose are `pitch` apart.
template <typename T>
__device__ __forceinline__ T square_to_column(const T* x, const T* column, int d, long long pitch) {
    T total = T(0);
    for (int c = 0; c < d; ++c) {
        const T gap = x[c] - column[c * pitch];
        total += gap * gap;
    }
    return total;
}

}  // namespace fastgen
