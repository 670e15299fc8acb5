// nuclear_norms: the sum of singular values of every matrix of a stack. One block per matrix.
#include "include/nuclear.cuh"

constexpr int THREADS = 128;

// Every thread of the block calls it and gets the same value; the order of operations is fixed.
template <typename T, typename F>
__device__ __forceinline__ T block_reduce(T value, F combine) {
    __shared__ T part[THREADS];
    __syncthreads();  // the previous result has been read by all
    part[threadIdx.x] = value;
    __syncthreads();
    for (unsigned half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            part[threadIdx.x] = combine(part[threadIdx.x], part[threadIdx.x + half]);
        }
        __syncthreads();
    }
    return part[0];
}

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
        largest = block_reduce(largest, Op::larger);
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
        sum = block_reduce(sum, Op::add);
        if (thread == 0) out[m] = largest * (fastgen::root(norm_squared) * sum);
    }
}
