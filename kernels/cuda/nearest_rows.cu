// Nearest rows: screens that keep a short list of columns for each query, with no array over all
// pairs, and the distances of the listed pairs in float64. Blocks of THREADS threads.
#include "include/block.cuh"
#include "include/nearest_rows.cuh"

// Keep the `keep` smallest squared distances, times scale^2, of every query to each chunk of the
// pool. x: (n, d). pool: (m, d). values, columns: (n, n_chunks, keep). A block takes QUERIES rows
// of x and one chunk of tiles of the pool at a time; pairs below the worst of their list are
// gathered beside the tile, and one thread to a query puts them in order.
template <typename T>
__global__ void __launch_bounds__(THREADS)
screen_tiles(const T* x, const T* pool, long long n, long long m, int d, T scale, int keep,
             int n_chunks, T* values, int* columns) {
    using Tile = fastgen::DistanceTile<T>;
    constexpr int QUERIES = fastgen::QUERIES;
    constexpr int ROWS = fastgen::ROWS;
    constexpr int LD = fastgen::CAPACITY + 1;  // lists start in different memory banks
    __shared__ T left[fastgen::DEPTH * Tile::LD_QUERIES];
    __shared__ T right[fastgen::DEPTH * Tile::LD_ROWS];
    __shared__ T found[QUERIES * ROWS];
    __shared__ unsigned char place[QUERIES * ROWS];
    __shared__ int counts[QUERIES];
    __shared__ T best[QUERIES * LD];
    __shared__ int which[QUERIES * LD];
    const int thread = static_cast<int>(threadIdx.x);
    const int row = thread % Tile::STEP_ROWS;
    const int query = thread / Tile::STEP_ROWS;
    const long long n_tiles = (m + ROWS - 1) / ROWS;
    const long long length = (n_tiles + n_chunks - 1) / n_chunks;
    const long long n_items = (n + QUERIES - 1) / QUERIES * n_chunks;

    for (long long item = blockIdx.x; item < n_items; item += gridDim.x) {
        const long long top = item / n_chunks * QUERIES;
        const long long begin = item % n_chunks * length;
        const long long end = begin + length < n_tiles ? begin + length : n_tiles;
        if (thread < QUERIES) {
            counts[thread] = 0;
            fastgen::clear(keep, best + thread * LD, which + thread * LD);
        }
        for (long long tile = begin; tile < end; ++tile) {
            const long long start = tile * ROWS;
            T sum[Tile::MINE_QUERIES][Tile::MINE_ROWS] = {};
            for (int k = 0; k < d; k += fastgen::DEPTH) {
                Tile::load(x, top, n, QUERIES, k, d, scale, thread, Tile::LD_QUERIES, left);
                Tile::load(pool, start, m, ROWS, k, d, scale, thread, Tile::LD_ROWS, right);
                __syncthreads();
                Tile::accumulate(left, right, query, row, sum);
                __syncthreads();
            }
            for (int i = 0; i < Tile::MINE_QUERIES; ++i) {
                const int q = query + i * Tile::STEP_QUERIES;
                const T worst = best[q * LD + keep - 1];
                for (int j = 0; j < Tile::MINE_ROWS; ++j) {
                    const int r = row + j * Tile::STEP_ROWS;
                    if (start + r < m && sum[i][j] < worst) {
                        const int at = q * ROWS + atomicAdd(&counts[q], 1);
                        found[at] = sum[i][j];
                        place[at] = static_cast<unsigned char>(r);
                    }
                }
            }
            __syncthreads();
            if (thread < QUERIES) {
                for (int i = 0; i < counts[thread]; ++i) {
                    const int at = thread * ROWS + i;
                    fastgen::insert(found[at], static_cast<int>(start) + place[at], keep,
                                    best + thread * LD, which + thread * LD);
                }
                counts[thread] = 0;
            }
        }
        if (thread < QUERIES && top + thread < n) {
            const long long list = ((top + thread) * n_chunks + item % n_chunks) * keep;
            for (int i = 0; i < keep; ++i) {
                values[list + i] = best[thread * LD + i];
                columns[list + i] = which[thread * LD + i];
            }
        }
    }
}

// Merge the lists of the chunks. values, columns: (n, n_chunks, keep). One thread to a query.
template <typename T>
__global__ void __launch_bounds__(THREADS)
merge_lists(const T* values, const int* columns, long long n, int n_chunks, int keep, T* out_values,
            int* out_columns) {
    const long long first = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
    for (long long i = first; i < n; i += static_cast<long long>(gridDim.x) * THREADS) {
        T* best = out_values + i * keep;
        int* which = out_columns + i * keep;
        fastgen::clear(keep, best, which);
        for (int chunk = 0; chunk < n_chunks; ++chunk) {
            const long long list = (i * n_chunks + chunk) * keep;
            for (int at = 0; at < keep && columns[list + at] >= 0; ++at) {
                if (!fastgen::insert(values[list + at], columns[list + at], keep, best, which)) {
                    break;
                }
            }
        }
    }
}

// Take the columns of smallest halves[j] - products[i, j] into the lists of every row, beside what
// they hold. products: (n, m). values, columns: (n, keep). first: number of column 0. One block to
// a row, which reads RUN columns per thread between two barriers.
template <typename T>
__global__ void __launch_bounds__(THREADS)
select_products(const T* products, const double* halves, long long n, int m, int first, int keep,
                double* values, int* columns) {
    constexpr int RUN = 4;
    __shared__ double found[THREADS * RUN];
    __shared__ int place[THREADS * RUN];
    __shared__ double best[fastgen::CAPACITY];
    __shared__ int which[fastgen::CAPACITY];
    __shared__ int count;
    const int thread = static_cast<int>(threadIdx.x);

    for (long long i = blockIdx.x; i < n; i += gridDim.x) {
        if (thread == 0) {
            count = 0;
            for (int at = 0; at < keep; ++at) {
                best[at] = values[i * keep + at];
                which[at] = columns[i * keep + at];
            }
        }
        __syncthreads();
        for (int start = 0; start < m; start += THREADS * RUN) {
            const double worst = best[keep - 1];
            for (int r = 0; r < RUN; ++r) {
                const int j = start + r * THREADS + thread;
                if (j >= m) break;
                const double value = halves[j] - static_cast<double>(products[i * m + j]);
                if (value < worst) {
                    const int at = atomicAdd(&count, 1);
                    found[at] = value;
                    place[at] = first + j;
                }
            }
            __syncthreads();
            if (thread == 0) {
                for (int at = 0; at < count; ++at) {
                    fastgen::insert(found[at], place[at], keep, best, which);
                }
                count = 0;
            }
            __syncthreads();
        }
        if (thread == 0) {
            for (int at = 0; at < keep; ++at) {
                values[i * keep + at] = best[at];
                columns[i * keep + at] = which[at];
            }
        }
    }
}

// out[i, j] = squared distance of x[i] and pool[columns[i * stride + j]]. With stride 0 all rows
// have the same columns. out: (n, width). One thread to a pair.
template <typename T>
__global__ void __launch_bounds__(THREADS)
squared_distances(const T* x, const T* pool, const int* columns, long long n, int width, int stride,
                  int d, double* out) {
    const long long first = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
    for (long long at = first; at < n * width; at += static_cast<long long>(gridDim.x) * THREADS) {
        const long long i = at / width;
        const long long column = columns[i * stride + at % width];
        out[at] = fastgen::squared_distance(x + i * d, pool + column * d, d);
    }
}
