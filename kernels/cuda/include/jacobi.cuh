// Arithmetic of the cyclic Jacobi method: the order of the pairs, one rotation, what it does.
#pragma once

namespace fastgen {

__device__ __forceinline__ float jacobi_root(float x) { return sqrtf(x); }
__device__ __forceinline__ double jacobi_root(double x) { return sqrt(x); }

// Square of the off-diagonal norm, relative to the norm, that no longer changes an eigenvalue.
__device__ __forceinline__ float converged(float) { return 1e-15f; }
__device__ __forceinline__ double converged(double) { return 1e-33; }

// Pair i of a round of the round-robin tournament of an even number of players: in players - 1
// rounds every player meets every other once.
struct JacobiPair {
    int p;
    int q;

    __device__ __forceinline__ JacobiPair(int i, int round, int players) {
        const int others = players - 1;
        const int a = i == 0 ? others : (round + i) % others;
        const int b = (round + others - i) % others;
        p = a < b ? a : b;
        q = a < b ? b : a;
    }
};

// [c -s; s c] [app apq; apq aqq] [c s; -s c] is diagonal; t = s / c is the smaller root.
template <typename T>
struct JacobiRotation {
    T c, s, t;

    static __device__ __forceinline__ JacobiRotation of(T app, T aqq, T apq) {
        if (apq == T(0)) return {T(1), T(0), T(0)};
        const T tau = (aqq - app) / (T(2) * apq);
        const T size = tau < T(0) ? -tau : tau;
        const T smaller = T(1) / (size + jacobi_root(T(1) + tau * tau));
        const T t = tau < T(0) ? -smaller : smaller;
        const T c = T(1) / jacobi_root(T(1) + t * t);
        return {c, t * c, t};
    }

    // (x, y) becomes (c x - s y, s x + c y).
    __device__ __forceinline__ void apply(T& x, T& y) const {
        const T a = x;
        x = c * a - s * y;
        y = s * a + c * y;
    }
};

}  // namespace fastgen
