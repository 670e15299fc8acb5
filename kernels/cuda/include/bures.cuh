// Arithmetic of cross-products of factors: square tiles in shared memory, four sums to a thread's
// column of a tile. No launch variables and no headers: the same text is compiled by NVRTC, nvcc
// and, in the tests, by a host compiler.
#pragma once

namespace fastgen {

template <typename T, int TILE>
struct CrossTile {
    static constexpr int LD = TILE + 1;  // rows of a tile start in different memory banks

    // Entry (row, k) of a block of n_rows rows of length d, or 0 beyond them.
    static __device__ __forceinline__ T entry(const T* block, int row, int n_rows, long long k,
                                              int d) {
        return row < n_rows && k < d ? block[static_cast<long long>(row) * d + k] : T(0);
    }

    // sum[s] += a[row + s * stride, :] . b[column, :]
    template <int SUMS>
    static __device__ __forceinline__ void accumulate(const T* a, const T* b, int row, int stride,
                                                      int column, T (&sum)[SUMS]) {
        for (int k = 0; k < TILE; ++k) {
            const T x = b[column * LD + k];
            for (int s = 0; s < SUMS; ++s) sum[s] += a[(row + s * stride) * LD + k] * x;
        }
    }
};

}  // namespace fastgen
