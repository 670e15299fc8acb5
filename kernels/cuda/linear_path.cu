// Norms along nested latent dimensions; kernels/cpu/linear_path.py has the mathematics. The nuclear
// norms of the matrices written here are the work of nuclear_norms. T is the type of the
// factorizations, C that of the cells.
#include "include/block.cuh"
#include "include/linear_path.cuh"

// A block takes one trial and per_block of the wanted values, and computes again what leads there:
// no block waits for another, and the grouping changes no bit.

// f, y: (n_trials, f_rows or y_rows, p), upper trapezoidal; inverse: (n_trials, p, p), lower
// triangular; ks: (n_wanted,), ascending, 1 to p <= SIDE; f_rows, y_rows <= p.
// cells: (n_trials, n_wanted, p, f_rows), transposed f[:, :k] inverse[:k, :k], zero beyond k.
// squares: (n_trials, n_wanted), squared norms of y[:, :k] inverse[:k, :k].
// Even blocks write the cells of a group, odd ones its squares.
template <typename T, typename C, int SIDE>
__global__ void __launch_bounds__(THREADS)
leading_path(const T* f, const T* y, const T* inverse, const long long* ks, C* cells, T* squares,
             long long n_trials, int f_rows, int y_rows, int p, int n_wanted, int per_block) {
    using Op = fastgen::LinearPathOp<T, SIDE>;
    __shared__ T product[SIDE * SIDE];  // an element belongs to one thread
    const int thread = static_cast<int>(threadIdx.x);
    const int n_groups = (n_wanted + per_block - 1) / per_block;

    for (long long task = blockIdx.x; task < 2 * n_trials * n_groups; task += gridDim.x) {
        const bool is_cell = task % 2 == 0;
        const long long trial = task / 2 / n_groups;
        const int start = static_cast<int>(task / 2 % n_groups) * per_block;
        const int stop = start + per_block < n_wanted ? start + per_block : n_wanted;
        const int rows = is_cell ? f_rows : y_rows;
        const T* left = is_cell ? f + trial * f_rows * p : y + trial * y_rows * p;
        const T* right = inverse + trial * p * p;
        for (int e = thread; e < rows * p; e += THREADS) product[e] = T(0);
        int done = 0;
        for (int v = start; v < stop; ++v) {
            const int k = static_cast<int>(ks[v]);
            C* cell = cells + (trial * n_wanted + v) * p * f_rows;
            T total = T(0);
            for (int e = thread; e < rows * p; e += THREADS) {
                const int i = e / p;
                const int col = e % p;
                int first = i > col ? i : col;
                if (first < done) first = done;
                const T x = Op::extend(product[e], left + i * p, right + col, p, first, k);
                product[e] = x;
                total += x * x;
                if (is_cell) cell[col * f_rows + i] = static_cast<C>(x);
            }
            if (!is_cell) {
                total = fastgen::block_reduce(total, Op::add);
                if (thread == 0) squares[trial * n_wanted + v] = total;
            }
            done = k;
        }
    }
}

// r: (n_trials, n, n), upper triangular, n <= SIDE; rows: (n_trials, m, n); counts: (n_wanted,),
// ascending, 0 to m; f, y: (n_trials, f_rows or y_rows, n), upper trapezoidal, at most n rows.
// cells: (n_trials, n_wanted, n, f_rows), transposed f inv(R), R the QR factor of r and the first
// counts[v] of the rows; squares: (n_trials, n_wanted), squared norms of y inv(R).
template <typename T, typename C, int SIDE>
__global__ void __launch_bounds__(THREADS)
tall_path(const T* r, const T* rows, const long long* counts, const T* f, const T* y, C* cells,
          T* squares, long long n_trials, int n, int m, int f_rows, int y_rows, int n_wanted,
          int per_block) {
    using Op = fastgen::LinearPathOp<T, SIDE>;
    constexpr int WAVE = 8;  // rows on their way through the factor at one time
    constexpr int TEAM = THREADS / WAVE;
    __shared__ T upper[Op::PACKED];
    __shared__ T inverse[Op::PACKED];
    __shared__ T fresh[WAVE * SIDE];
    __shared__ T diagonal[2 * SIDE];  // before and after a row: even and odd rows alternate
    const int thread = static_cast<int>(threadIdx.x);
    const int member = thread % TEAM;
    const int mine = thread / TEAM;
    const int n_groups = (n_wanted + per_block - 1) / per_block;

    for (long long task = blockIdx.x; task < n_trials * n_groups; task += gridDim.x) {
        const long long trial = task / n_groups;
        const int start = static_cast<int>(task % n_groups) * per_block;
        const int stop = start + per_block < n_wanted ? start + per_block : n_wanted;
        const T* factor = r + trial * n * n;
        const T* f_trial = f + trial * f_rows * n;
        const T* y_trial = y + trial * y_rows * n;
        for (int e = thread; e < n * n; e += THREADS) {
            if (e / n <= e % n) upper[Op::at(e / n) + e % n] = factor[e];
        }
        for (int j = thread; j < n; j += THREADS) diagonal[j] = factor[j * n + j];
        int done = 0;
        for (int v = start; v < stop; ++v) {
            const int count = static_cast<int>(counts[v]);
            while (done < count) {
                const int wave = count - done < WAVE ? count - done : WAVE;
                const T* block = rows + (trial * m + done) * n;
                for (int e = thread; e < wave * n; e += THREADS) {
                    fresh[e / n * SIDE + e % n] = block[e];
                }
                __syncthreads();
                // Row t is at column j in step j + t: one step behind the row before it.
                T* row = fresh + mine * SIDE;
                const T* before = diagonal + (done + mine) % 2 * SIDE;
                T* after = diagonal + (done + mine + 1) % 2 * SIDE;
                for (int step = 0; step < n + wave - 1; ++step) {
                    const int j = step - mine;
                    if (mine < wave && j >= 0 && j < n) {
                        const fastgen::Givens<T> g(before[j], row[j]);
                        Op::rotate(g, upper + Op::at(j), row, j + 1 + member, n, TEAM);
                        if (member == 0) after[j] = g.size;
                    }
                    __syncthreads();
                }
                done += wave;
            }
            __syncthreads();
            for (int col = thread; col < n; col += THREADS) {
                Op::invert_column(upper, diagonal + done % 2 * SIDE, col, inverse);
            }
            __syncthreads();
            C* cell = cells + (trial * n_wanted + v) * n * f_rows;
            for (int e = thread; e < f_rows * n; e += THREADS) {
                const int i = e / n;
                const int col = e % n;
                const T x = Op::product(f_trial + i * n, inverse, i, col);
                cell[col * f_rows + i] = static_cast<C>(x);
            }
            T total = T(0);
            for (int e = thread; e < y_rows * n; e += THREADS) {
                const int i = e / n;
                const T x = Op::product(y_trial + i * n, inverse, i, e % n);
                total += x * x;
            }
            total = fastgen::block_reduce(total, Op::add);
            if (thread == 0) squares[trial * n_wanted + v] = total;
        }
    }
}
