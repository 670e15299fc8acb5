// Means of a finite set with weights exp(-||z - x||^2 / (2 sigma^2)), as in
// kernels/cpu/exact_score.py, without its screening.
//
// One block to a row of z. Its threads first take a point each, whose coordinates lie in columns (d,
// n), then a coordinate each, of the points (n, d): neighbours read neighbouring memory both times.
#include "include/block.cuh"
#include "include/exact_score.cuh"

// z: (count, d). sigma: (count). weights: (count, n), scratch. means: (count, d).
template <typename T>
__global__ void __launch_bounds__(THREADS)
weighted_means(const T* z, const T* columns, const T* points, const T* sigma, long long count,
               long long n, int d, T* weights, T* means) {
    for (long long row = blockIdx.x; row < count; row += gridDim.x) {
        const T* query = z + row * d;
        T* weight = weights + row * n;
        T nearest = T(-1);
        for (long long j = threadIdx.x; j < n; j += THREADS) {
            const T square = fastgen::square_to_column(query, columns + j, d, n);
            weight[j] = square;
            nearest = nearest < T(0) || square < nearest ? square : nearest;
        }
        nearest = fastgen::block_reduce(nearest, [](T a, T b) {
            return b < T(0) ? a : (a < T(0) || b < a ? b : a);
        });
        const T scale = T(0.5) / (sigma[row] * sigma[row]);
        T total = T(0);
        for (long long j = threadIdx.x; j < n; j += THREADS) {
            weight[j] = exp((nearest - weight[j]) * scale);
            total += weight[j];
        }
        total = fastgen::block_reduce(total, [](T a, T b) { return a + b; });
        for (int c = threadIdx.x; c < d; c += THREADS) {
            T sum = T(0);
            for (long long j = 0; j < n; ++j) {
                if (weight[j] > T(0)) {
                    sum += weight[j] * points[j * d + c];
                }
            }
            means[row * d + c] = sum / total;
        }
        __syncthreads();
    }
}
