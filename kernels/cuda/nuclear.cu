// nuclear_norms: the sum of singular values of every matrix of a stack.
// symmetric_eigen: the eigenvalues, and the eigenvectors if VECTORS, of every symmetric matrix.
// One block per matrix.
#include "include/block.cuh"
#include "include/jacobi.cuh"
#include "include/nuclear.cuh"

// stack: (n_matrices, rows, cols), C order, cols <= rows <= ROWS, cols <= COLS.
// gamma, omega: nodes and weights with sqrt(x) = sum_j omega_j x / (x + gamma_j) on [0, 1].
// out: (n_matrices,). A matrix with a NaN or an infinity gives NaN. Blocks of THREADS threads.
template <typename T, int ROWS, int COLS>
__global__ void __launch_bounds__(THREADS)
nuclear_norms(const T* stack, long long n_matrices, int rows, int cols,
              const T* gamma, const T* omega, int n_nodes, T* out) {
    using Op = fastgen::NuclearOp<T>;
    constexpr int LD = COLS | 1;  // odd: neither rows nor columns collide in the memory banks
    __shared__ T a[ROWS * LD];
    __shared__ T q[COLS];
    __shared__ T e[COLS];
    const int thread = static_cast<int>(threadIdx.x);

    for (long long m = blockIdx.x; m < n_matrices; m += gridDim.x) {
        const T* matrix = stack + m * rows * cols;
        T largest = T(0);
        for (int i = thread; i < rows * cols; i += THREADS) {
            const T value = matrix[i];
            a[i / cols * LD + i % cols] = value;
            largest = Op::larger(largest, Op::magnitude(value));
        }
        largest = fastgen::block_reduce(largest, Op::larger);
        if (largest == T(0) || !Op::is_finite(largest)) {  // the same branch in the whole block
            if (thread == 0) out[m] = largest - largest;
            continue;
        }
        for (int i = thread; i < rows * cols; i += THREADS) a[i / cols * LD + i % cols] /= largest;
        if (thread == 0) e[cols - 1] = T(0);
        __syncthreads();

        // A thread owns one column, then one row. Each recomputes the reflection from the pivot
        // column (row), which nobody writes, so one barrier per reflection is enough.
        for (int k = 0; k < cols; ++k) {
            const T* column = a + (k + 1) * LD + k;
            for (int j = k + thread; j < cols; j += THREADS) {
                T* head = a + k * LD + j;
                T product, square;
                Op::dots(column, head + LD, LD, rows - k - 1, product, square);
                const fastgen::Householder<T> h(a[k * LD + k], square);
                if (j == k) {
                    q[k] = h.beta * h.beta;
                } else {
                    Op::reflect(h, column, head, head + LD, LD, rows - k - 1, product);
                }
            }
            __syncthreads();
            if (k + 1 == cols) break;
            const T* row = a + k * LD + k + 2;
            for (int i = k + thread; i < rows; i += THREADS) {
                T* head = a + i * LD + k + 1;
                T product, square;
                Op::dots(row, head + 1, 1, cols - k - 2, product, square);
                const fastgen::Householder<T> h(a[k * LD + k + 1], square);
                if (i == k) {
                    e[k] = h.beta * h.beta;
                } else {
                    Op::reflect(h, row, head, head + 1, 1, cols - k - 2, product);
                }
            }
            __syncthreads();
        }

        const T norm_squared = Op::squared_norm(q, e, cols);
        T sum = T(0);
        for (int j = thread; j < n_nodes; j += THREADS) {
            sum += omega[j] * Op::node_sum(q, e, cols, gamma[j] * norm_squared);
        }
        sum = fastgen::block_reduce(sum, Op::add);
        if (thread == 0) out[m] = largest * (fastgen::root(norm_squared) * sum);
    }
}

// stack: (n_matrices, n, n), n <= SIDE, an even number; the lower triangles are read.
// values: (n_matrices, n), ascending; vectors: (n_matrices, n, n), in columns, not touched without
// VECTORS. A matrix with a NaN or an infinity gives NaN. The vectors are rotated in global memory,
// as rows: with them in it, the shared memory would not hold a side of 64 in float64. Aiming at more
// than four blocks to a multiprocessor the compiler would spill registers.
template <typename T, int SIDE, bool VECTORS>
__global__ void __launch_bounds__(THREADS, 4)
symmetric_eigen(const T* stack, long long n_matrices, int n, T* values, T* vectors) {
    using Op = fastgen::NuclearOp<T>;
    constexpr int LD = SIDE | 1;
    constexpr int MAX_SWEEPS = 30;  // eight or so are used
    __shared__ T a[SIDE * LD];
    __shared__ fastgen::JacobiRotation<T> rotation[SIDE / 2];
    __shared__ int place[VECTORS ? SIDE : 1];
    const int thread = static_cast<int>(threadIdx.x);
    const int even = n + n % 2;  // a row and a column of zeros join an odd number
    const int half = even / 2;

    for (long long m = blockIdx.x; m < n_matrices; m += gridDim.x) {
        const T* matrix = stack + m * n * n;
        T largest = T(0);
        for (int i = thread; i < n * n; i += THREADS) {
            if (i / n >= i % n) largest = Op::larger(largest, Op::magnitude(matrix[i]));
        }
        largest = fastgen::block_reduce(largest, Op::larger);
        if (largest == T(0) || !Op::is_finite(largest)) {  // the same branch in the whole block
            for (int i = thread; i < n; i += THREADS) values[m * n + i] = largest - largest;
            if constexpr (VECTORS) {
                for (int i = thread; i < n * n; i += THREADS) {
                    vectors[m * n * n + i] = T(i / n == i % n) + (largest - largest);
                }
            }
            continue;
        }
        T* v = vectors + m * n * n;
        if constexpr (VECTORS) {
            for (int i = thread; i < n * n; i += THREADS) v[i] = T(i / n == i % n);
        }
        for (int i = thread; i < even * even; i += THREADS) {
            const int row = i / even > i % even ? i / even : i % even;
            const int col = i / even + i % even - row;
            a[i / even * LD + i % even] = row < n ? matrix[row * n + col] / largest : T(0);
        }

        for (int sweep = 0; sweep < MAX_SWEEPS; ++sweep) {
            T off = T(0);
            T all = T(0);
            for (int i = thread; i < even * even; i += THREADS) {
                const T x = a[i / even * LD + i % even];
                all += x * x;
                if (i / even != i % even) off += x * x;
            }
            off = fastgen::block_reduce(off, Op::add);
            all = fastgen::block_reduce(all, Op::add);
            if (off <= fastgen::converged(T(0)) * all) break;
            for (int round = 0; round < even - 1; ++round) {
                if (thread < half) {
                    const fastgen::JacobiPair x(thread, round, even);
                    rotation[thread] = fastgen::JacobiRotation<T>::of(
                        a[x.p * LD + x.p], a[x.q * LD + x.q], a[x.q * LD + x.p]);
                }
                __syncthreads();
                // The pairs cut the matrix into blocks of 2 x 2; a thread takes one and its mirror.
                for (int e = thread; e < half * half; e += THREADS) {
                    if (e / half > e % half) continue;
                    const fastgen::JacobiPair x(e / half, round, even);
                    const fastgen::JacobiPair y(e % half, round, even);
                    const fastgen::JacobiRotation<T> left = rotation[e / half];
                    if (e / half == e % half) {
                        const T shift = left.t * a[x.q * LD + x.p];
                        a[x.p * LD + x.p] -= shift;
                        a[x.q * LD + x.q] += shift;
                        a[x.p * LD + x.q] = a[x.q * LD + x.p] = T(0);
                        continue;
                    }
                    const fastgen::JacobiRotation<T> right = rotation[e % half];
                    T pp = a[x.p * LD + y.p], pq = a[x.p * LD + y.q];
                    T qp = a[x.q * LD + y.p], qq = a[x.q * LD + y.q];
                    left.apply(pp, qp);
                    left.apply(pq, qq);
                    right.apply(pp, pq);
                    right.apply(qp, qq);
                    a[x.p * LD + y.p] = a[y.p * LD + x.p] = pp;
                    a[x.p * LD + y.q] = a[y.q * LD + x.p] = pq;
                    a[x.q * LD + y.p] = a[y.p * LD + x.q] = qp;
                    a[x.q * LD + y.q] = a[y.q * LD + x.q] = qq;
                }
                if constexpr (VECTORS) {
                    for (int e = thread; e < half * n; e += THREADS) {
                        const fastgen::JacobiPair x(e / n, round, even);
                        if (x.q < n) rotation[e / n].apply(v[x.p * n + e % n], v[x.q * n + e % n]);
                    }
                }
                __syncthreads();
            }
        }

        for (int i = thread; i < n; i += THREADS) {
            const T value = a[i * LD + i];
            int rank = 0;
            for (int j = 0; j < n; ++j) {
                const T other = a[j * LD + j];
                rank += other < value || (other == value && j < i);
            }
            values[m * n + rank] = largest * value;
            if constexpr (VECTORS) place[i] = rank;
        }
        if constexpr (VECTORS) {
            __syncthreads();  // the diagonal has been read by all
            for (int i = thread; i < n * n; i += THREADS) a[i / n * LD + i % n] = v[i];
            __syncthreads();
            for (int i = thread; i < n * n; i += THREADS) {
                v[i % n * n + place[i / n]] = a[i / n * LD + i % n];
            }
        }
    }
}
