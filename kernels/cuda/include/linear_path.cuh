// Arithmetic of the norms along nested latent dimensions: Givens rotations that add rows to a
// triangular factor, its inverse, and products with triangular and trapezoidal matrices.
#pragma once

namespace fastgen {

__device__ __forceinline__ float hypotenuse(float a, float b) { return hypotf(a, b); }
__device__ __forceinline__ double hypotenuse(double a, double b) { return hypot(a, b); }

// [c s; -s c] (head, x)^T = (size, 0)^T.
template <typename T>
struct Givens {
    T c = T(1);
    T s = T(0);
    T size;

    __device__ __forceinline__ Givens(T head, T x) : size(head) {
        if (x == T(0)) return;
        size = hypotenuse(head, x);
        c = head / size;
        s = x / size;
    }
};

template <typename T, int SIDE>
struct LinearPathOp {
    static constexpr int PACKED = SIDE * (SIDE + 1) / 2;

    static __device__ __forceinline__ T add(T a, T b) { return a + b; }

    // Element (i, j), i <= j, of a packed upper triangular matrix is at at(i) + j.
    static __device__ __forceinline__ int at(int i) { return i * (2 * SIDE - i - 1) / 2; }

    // Rotate the line x[first], x[first + step], ... below stop with the same elements of y.
    static __device__ __forceinline__ void rotate(const Givens<T>& g, T* x, T* y, int first,
                                                  int stop, int step) {
        for (int j = first; j < stop; j += step) {
            const T a = x[j];
            const T b = y[j];
            x[j] = g.c * a + g.s * b;
            y[j] = g.c * b - g.s * a;
        }
    }

    // Column col of the inverse of the packed matrix whose diagonal is kept apart, bottom up.
    static __device__ __forceinline__ void invert_column(const T* upper, const T* diagonal, int col,
                                                         T* inverse) {
        inverse[at(col) + col] = T(1) / diagonal[col];
        for (int i = col - 1; i >= 0; --i) {
            T x = T(0);
            for (int j = i + 1; j <= col; ++j) x += upper[at(i) + j] * inverse[at(j) + col];
            inverse[at(i) + col] = -x / diagonal[i];
        }
    }

    // Element (i, col) of an upper trapezoidal matrix, given by its row i, times a packed one.
    static __device__ __forceinline__ T product(const T* row, const T* packed, int i, int col) {
        T x = T(0);
        for (int j = i; j <= col; ++j) x += row[j] * packed[at(j) + col];
        return x;
    }

    // x plus the sum over first <= j < stop of row[j] column[j * pitch].
    static __device__ __forceinline__ T extend(T x, const T* row, const T* column, long long pitch,
                                               int first, int stop) {
        for (int j = first; j < stop; ++j) x += row[j] * column[j * pitch];
        return x;
    }
};

}  // namespace fastgen
