// Balls about rows: how many hold each query, and the least ratio of squared distance to squared
// radius. Blocks of THREADS threads.
#include "include/block.cuh"
#include "include/nearest_rows.cuh"

// x: (n, d) queries. centers: (m, d). squared: (m,), squared radii, negative for no ball. kept:
// (m,), 1 where the ratio counts. held, ratio: (n,), 0 and infinity before. A tile sums in T, of
// rows times scale; pairs that its error, relative and absolute, leaves open are summed anew in
// float64, by the function that the radii come from, so that a row on a sphere is on it.
template <typename T>
__global__ void __launch_bounds__(THREADS)
count_balls(const T* x, const T* centers, const double* squared, const unsigned char* kept,
            long long n, long long m, int d, T scale, double relative, double absolute,
            long long* held, double* ratio) {
    using Tile = fastgen::DistanceTile<T>;
    constexpr int QUERIES = fastgen::QUERIES;
    constexpr int ROWS = fastgen::ROWS;
    __shared__ T left[fastgen::DEPTH * Tile::LD_QUERIES];
    __shared__ T right[fastgen::DEPTH * Tile::LD_ROWS];
    __shared__ int counts[QUERIES * Tile::STEP_ROWS];
    __shared__ double least[QUERIES * Tile::STEP_ROWS];
    const int thread = static_cast<int>(threadIdx.x);
    const int row = thread % Tile::STEP_ROWS;
    const int query = thread / Tile::STEP_ROWS;
    const double unit = double(scale) * double(scale);
    const long long n_items = (n + QUERIES - 1) / QUERIES;

    for (long long item = blockIdx.x; item < n_items; item += gridDim.x) {
        const long long top = item * QUERIES;
        long long mine[Tile::MINE_QUERIES] = {};
        double best[Tile::MINE_QUERIES];
        for (int i = 0; i < Tile::MINE_QUERIES; ++i) best[i] = 1e308;
        for (long long start = 0; start < m; start += ROWS) {
            T sum[Tile::MINE_QUERIES][Tile::MINE_ROWS] = {};
            for (int k = 0; k < d; k += fastgen::DEPTH) {
                Tile::load(x, top, n, QUERIES, k, d, scale, thread, Tile::LD_QUERIES, left);
                Tile::load(centers, start, m, ROWS, k, d, scale, thread, Tile::LD_ROWS, right);
                __syncthreads();
                Tile::accumulate(left, right, query, row, sum);
                __syncthreads();
            }
            for (int i = 0; i < Tile::MINE_QUERIES; ++i) {
                const long long a = top + query + i * Tile::STEP_QUERIES;
                for (int j = 0; j < Tile::MINE_ROWS; ++j) {
                    const long long b = start + row + j * Tile::STEP_ROWS;
                    if (a >= n || b >= m || squared[b] < 0) continue;
                    const double low = double(sum[i][j]) * (1 - relative) - absolute;
                    const double high = double(sum[i][j]) * (1 + relative) + absolute;
                    const double radius = squared[b] * unit;
                    const bool nearer = kept[b] != 0 && low <= best[i] * radius;
                    if (high < radius && !nearer) {
                        ++mine[i];
                    } else if (low <= radius || nearer) {
                        const double exact =
                            fastgen::squared_distance(x + a * d, centers + b * d, d);
                        if (exact <= squared[b]) ++mine[i];
                        if (kept[b] != 0 && (exact == 0 || squared[b] > 0)) {
                            const double found = exact == 0 ? 0.0 : exact / squared[b];
                            if (found < best[i]) best[i] = found;
                        }
                    }
                }
            }
        }
        for (int i = 0; i < Tile::MINE_QUERIES; ++i) {
            const int q = query + i * Tile::STEP_QUERIES;
            counts[q * Tile::STEP_ROWS + row] = static_cast<int>(mine[i]);
            least[q * Tile::STEP_ROWS + row] = best[i];
        }
        __syncthreads();
        if (thread < QUERIES && top + thread < n) {
            for (int j = 0; j < Tile::STEP_ROWS; ++j) {
                const int at = thread * Tile::STEP_ROWS + j;
                held[top + thread] += counts[at];
                const bool less = least[at] < 1e308 && least[at] < ratio[top + thread];
                if (less) ratio[top + thread] = least[at];
            }
        }
        __syncthreads();
    }
}
