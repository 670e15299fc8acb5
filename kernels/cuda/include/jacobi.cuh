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

// [c -s; s c] [app apq; apq aqq] [c s; -s c] is diagonal; t = s / c is the smaller root. In place of
// c, which rounds to 1 for a small angle and would let a long product of rotations grow,
// tau = s / (1 + c), with c = 1 - s tau (Rutishauser, Numerische Mathematik 9, 1966).
template <typename T>
struct JacobiRotation {
    T s, t, tau;

    static __device__ __forceinline__ JacobiRotation of(T app, T aqq, T apq) {
        if (apq == T(0)) return {T(0), T(0), T(0)};
        const T ratio = (aqq - app) / (T(2) * apq);
        const T size = ratio < T(0) ? -ratio : ratio;
        const T smaller = T(1) / (size + jacobi_root(T(1) + ratio * ratio));
        const T t = ratio < T(0) ? -smaller : smaller;
        const T c = T(1) / jacobi_root(T(1) + t * t);
        return {t * c, t, t * c / (T(1) + c)};
    }

    // (x, y) becomes (c x - s y, s x + c y).
    __device__ __forceinline__ void apply(T& x, T& y) const {
        const T a = x;
        x -= s * (y + tau * a);
        y += s * (a - tau * y);
    }
};

}  // namespace fastgen
