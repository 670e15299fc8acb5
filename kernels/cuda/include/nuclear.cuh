// Arithmetic of the sum of singular values: Householder reflections that make a matrix bidiagonal,
// and resolvent traces of the bidiagonal's Gram matrix. No launch variables and no headers: the
// same text is compiled by NVRTC, nvcc and, in the tests, by a host compiler.
#pragma once

namespace fastgen {

__device__ __forceinline__ float root(float x) { return sqrtf(x); }
__device__ __forceinline__ double root(double x) { return sqrt(x); }

// A squared tail below this is dropped: a reflection built from nearly subnormal squares would not
// be orthogonal. The entries are at most 1, so the dropped norm is far below the unit roundoff.
__device__ __forceinline__ float negligible(float) { return 1e-30f; }
__device__ __forceinline__ double negligible(double) { return 1e-290; }

// H = I - tau v v^T with v = (1, tail / v0) and H (head, tail)^T = (beta, 0)^T.
template <typename T>
struct Householder {
    T beta;
    T v0;
    T tau;

    __device__ __forceinline__ Householder(T head, T tail_squared) {
        if (tail_squared <= negligible(T(0))) {
            beta = head;
            v0 = T(1);
            tau = T(0);
            return;
        }
        const T norm = root(head * head + tail_squared);
        beta = head < T(0) ? norm : -norm;
        v0 = head - beta;
        tau = -v0 / beta;
    }
};

template <typename T>
struct NuclearOp {
    static __device__ __forceinline__ T magnitude(T x) { return x < T(0) ? -x : x; }

    static __device__ __forceinline__ bool is_finite(T x) { return x - x == T(0); }

    static __device__ __forceinline__ T add(T a, T b) { return a + b; }

    // The larger of two, or NaN if either is NaN.
    static __device__ __forceinline__ T larger(T a, T b) { return a > b || a != a ? a : b; }

    // Sum over the line x[0], x[step], ... of length n of its product with y, and of its square.
    static __device__ __forceinline__ void dots(const T* x, const T* y, long long step, int n,
                                                T& product, T& square) {
        product = square = T(0);
        for (int i = 0; i < n; ++i) {
            const T t = x[i * step];
            product += t * y[i * step];
            square += t * t;
        }
    }

    // Reflect the line (*head, y[0], y[step], ...) by H, whose tail is x; product = tail . y.
    static __device__ __forceinline__ void reflect(const Householder<T>& h, const T* x, T* head,
                                                   T* y, long long step, int n, T product) {
        if (h.tau == T(0)) return;
        const T w = h.tau * (*head + product / h.v0);
        *head -= w;
        const T scale = w / h.v0;
        for (int i = 0; i < n; ++i) y[i * step] -= scale * x[i * step];
    }

    // Squared Frobenius norm of the bidiagonal matrix with squared entries q and e.
    static __device__ __forceinline__ T squared_norm(const T* q, const T* e, int n) {
        T sum = T(0);
        for (int i = 0; i < n; ++i) sum += q[i] + e[i];
        return sum;
    }

    // sum_i x_i / (x_i + c) over the eigenvalues x_i of B^T B, where B is bidiagonal with squared
    // diagonal q[0..n) and squared superdiagonal e[0..n-1), and c > 0.
    //
    // d_i = q_i + s_i are the pivots of B^T B + c I and w_i = s_i - c ds_i/dc. Differentiating
    // log det = sum log d_i gives n - c tr (B^T B + c I)^{-1} = sum (q_i + w_i) / d_i, and
    //     s_{i+1} = c + e_i s_i / d_i,    w_{i+1} = e_i (s_i^2 + q_i w_i) / d_i^2.
    // Nothing is subtracted: every term is positive and the sum has a small relative error.
    static __device__ __forceinline__ T node_sum(const T* q, const T* e, int n, T c) {
        T s = c;
        T w = T(0);
        T sum = T(0);
        for (int i = 0; i < n; ++i) {
            const T inverse = T(1) / (q[i] + s);
            const T rest = s * inverse;
            sum += (q[i] + w) * inverse;
            w = e[i] * (rest * rest + (q[i] * inverse) * (w * inverse));
            s = c + e[i] * rest;
        }
        return sum;
    }
};

}  // namespace fastgen
