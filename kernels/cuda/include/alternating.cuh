// Arithmetic of least squares with a triangular factor kept by columns.
#pragma once

namespace fastgen {

// Element (i, j), i < j, of the triangle R is at upper[j * LD + i]; its diagonal is kept apart.
template <typename T, int LD>
struct TriangularOp {
    static __device__ __forceinline__ T larger(T a, T b) { return a > b || a != a ? a : b; }
    static __device__ __forceinline__ T smaller(T a, T b) { return a < b || a != a ? a : b; }

    // y = inv(R) y, bottom up.
    static __device__ __forceinline__ void solve(const T* upper, const T* diagonal, int n, T* y) {
        for (int j = n - 1; j >= 0; --j) {
            const T x = y[j] / diagonal[j];
            y[j] = x;
            for (int i = 0; i < j; ++i) y[i] -= upper[j * LD + i] * x;
        }
    }

    // y = inv(R^T) y, top down.
    static __device__ __forceinline__ void solve_transposed(const T* upper, const T* diagonal,
                                                            int n, T* y) {
        for (int j = 0; j < n; ++j) {
            T x = y[j];
            for (int i = 0; i < j; ++i) x -= upper[j * LD + i] * y[i];
            y[j] = x / diagonal[j];
        }
    }
};

}  // namespace fastgen
