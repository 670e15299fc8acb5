// cross_products: products of pairs of factors, whose nuclear norms are the overlaps of Gaussians.
// A block takes one tile of one pair at a time; there is no array over all pairs but the result's.
#include "include/block.cuh"
#include "include/bures.cuh"

// rows: (n_rows, d), C order: transposed factors, one below the other.
// starts: (n_factors + 1,); factor a is rows[starts[a] .. starts[a + 1]).
// pairs: (n_pairs, 2). out: (n_pairs, height, width), zero where a product has no entry; the factor
// with more rows is the first of a product, so height >= width. Blocks of THREADS threads.
template <typename T, int TILE>
__global__ void __launch_bounds__(THREADS)
cross_products(const T* rows, const long long* starts, const long long* pairs, long long n_pairs,
               int d, int height, int width, T* out) {
    using Cross = fastgen::CrossTile<T, TILE>;
    constexpr int STRIDE = THREADS / TILE;
    constexpr int SUMS = TILE / STRIDE;
    __shared__ T a[TILE * Cross::LD];
    __shared__ T b[TILE * Cross::LD];
    const int thread = static_cast<int>(threadIdx.x);
    const int column = thread % TILE;
    const int line = thread / TILE;
    const int down = (height + TILE - 1) / TILE;
    const int across = (width + TILE - 1) / TILE;
    const long long n_tiles = n_pairs * down * across;

    for (long long t = blockIdx.x; t < n_tiles; t += gridDim.x) {
        const long long pair = t / (down * across);
        const int top = static_cast<int>(t / across % down) * TILE;
        const int left = static_cast<int>(t % across) * TILE;
        long long tall = pairs[2 * pair];
        long long flat = pairs[2 * pair + 1];
        if (starts[tall + 1] - starts[tall] < starts[flat + 1] - starts[flat]) {
            const long long swap = tall;
            tall = flat;
            flat = swap;
        }
        const T* tall_rows = rows + starts[tall] * d;
        const T* flat_rows = rows + starts[flat] * d;
        const int n_tall = static_cast<int>(starts[tall + 1] - starts[tall]);
        const int n_flat = static_cast<int>(starts[flat + 1] - starts[flat]);
        T sum[SUMS] = {};
        for (int k = 0; k < d; k += TILE) {
            for (int s = 0; s < SUMS; ++s) {
                const int row = line + s * STRIDE;
                const int at = row * Cross::LD + column;
                a[at] = Cross::entry(tall_rows, top + row, n_tall, k + column, d);
                b[at] = Cross::entry(flat_rows, left + row, n_flat, k + column, d);
            }
            __syncthreads();
            Cross::accumulate(a, b, line, STRIDE, column, sum);
            __syncthreads();
        }
        for (int s = 0; s < SUMS; ++s) {
            const int row = top + line + s * STRIDE;
            if (row < height && left + column < width) {
                out[(pair * height + row) * width + left + column] = sum[s];
            }
        }
    }
}
