// solve_left: the least squares of the alternation between generator and latents, one cell to a
// block. kernels/cpu/alternating.py has the iteration around it.
#include "include/alternating.cuh"
#include "include/block.cuh"
#include "include/nuclear.cuh"

// a: (n_systems, m, n), m and n <= SIDE, of which the first rows[s] x columns[s] are in use;
// b: (n_systems, m, n_right), whose first rows[s] rows are read.
// x: (n_systems, n, n_right), pinv(a) b by Householder QR of a, or of its transpose where there are
// more columns than rows; zero beyond columns[s].
// share: (n_systems,), the smallest over the largest diagonal entry of the triangle. Where it is
// near zero x means nothing. A matrix with a NaN or an infinity gives NaN. Aiming at more than four
// blocks to a multiprocessor the compiler would spill registers.
template <typename T, int SIDE>
__global__ void __launch_bounds__(THREADS, 4)
solve_left(const T* a, const T* b, const int* rows, const int* columns, T* x, T* share,
           long long n_systems, int m, int n, int n_right) {
    using Op = fastgen::NuclearOp<T>;
    constexpr int LD = SIDE | 1;
    using Triangle = fastgen::TriangularOp<T, LD>;
    __shared__ T work[SIDE * LD];  // a line is a column of what is factorized
    __shared__ T diagonal[SIDE];
    __shared__ T tail[SIDE];  // squared norms below the diagonal: they give the reflections again
    const int thread = static_cast<int>(threadIdx.x);

    for (long long s = blockIdx.x; s < n_systems; s += gridDim.x) {
        const bool is_tall = rows[s] >= columns[s];
        const int longer = is_tall ? rows[s] : columns[s];
        const int shorter = is_tall ? columns[s] : rows[s];
        const T* matrix = a + s * m * n;
        T largest = T(0);
        for (int e = thread; e < longer * shorter; e += THREADS) {
            const int i = e / columns[s];
            const int j = e % columns[s];
            largest = Op::larger(largest, Op::magnitude(matrix[i * n + j]));
        }
        largest = fastgen::block_reduce(largest, Op::larger);
        if (largest == T(0) || !Op::is_finite(largest)) {  // the same branch in the whole block
            if (thread == 0) share[s] = largest - largest;
            for (int e = thread; e < n * n_right; e += THREADS) {
                x[s * n * n_right + e] = largest - largest;
            }
            continue;
        }
        for (int e = thread; e < longer * shorter; e += THREADS) {
            const int i = e / columns[s];
            const int j = e % columns[s];
            work[is_tall ? j * LD + i : i * LD + j] = matrix[i * n + j] / largest;
        }
        __syncthreads();

        // A thread owns one column. Each recomputes the reflection from the pivot column, which
        // nobody writes, so one barrier per reflection is enough.
        for (int k = 0; k < shorter; ++k) {
            const T* pivot = work + k * LD + k;
            for (int j = k + thread; j < shorter; j += THREADS) {
                T* head = work + j * LD + k;
                T product, square;
                Op::dots(pivot + 1, head + 1, 1, longer - k - 1, product, square);
                const fastgen::Householder<T> h(*pivot, square);
                if (j == k) {
                    diagonal[k] = h.beta;
                    tail[k] = square;
                } else {
                    Op::reflect(h, pivot + 1, head, head + 1, 1, longer - k - 1, product);
                }
            }
            __syncthreads();
        }

        if (thread == 0) {
            T least = Op::magnitude(diagonal[0]);
            T most = least;
            for (int k = 1; k < shorter; ++k) {
                least = Triangle::smaller(least, Op::magnitude(diagonal[k]));
                most = Triangle::larger(most, Op::magnitude(diagonal[k]));
            }
            share[s] = least / most;
        }
        for (int j = thread; j < n_right; j += THREADS) {
            T y[SIDE];  // a right-hand side belongs to one thread
            const T* right = b + s * m * n_right + j;
            T* solution = x + s * n * n_right + j;
            for (int i = 0; i < rows[s]; ++i) y[i] = right[i * n_right];
            if (!is_tall) {
                Triangle::solve_transposed(work, diagonal, shorter, y);
                for (int i = shorter; i < longer; ++i) y[i] = T(0);
            }
            for (int step = 0; step < shorter; ++step) {
                const int k = is_tall ? step : shorter - 1 - step;
                const T* pivot = work + k * LD + k;
                T product, square;
                Op::dots(pivot + 1, y + k + 1, 1, longer - k - 1, product, square);
                const fastgen::Householder<T> h(*pivot, tail[k]);
                Op::reflect(h, pivot + 1, y + k, y + k + 1, 1, longer - k - 1, product);
            }
            if (is_tall) Triangle::solve(work, diagonal, shorter, y);
            for (int i = 0; i < n; ++i) {
                solution[i * n_right] = i < columns[s] ? y[i] / largest : T(0);
            }
        }
    }
}
