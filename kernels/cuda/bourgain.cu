// Distances of points to the nearest member of random sets, as in kernels/cpu/bourgain.py.
//
// Set s has the members members[starts[s]] .. members[starts[s + 1] - 1]. out: (n_sets, n), 0 for a
// set without members. One thread to an entry of out; the threads of a warp have neighbouring
// points of one set, so that they read neighbouring memory.
#include "include/block.cuh"
#include "include/bourgain.cuh"

// distances: (n, n), symmetric.
template <typename T>
__global__ void __launch_bounds__(THREADS)
matrix_set_distances(const T* distances, const long long* starts, const long long* members,
                     long long n, long long n_sets, T* out) {
    const long long first = (long long)blockIdx.x * THREADS + threadIdx.x;
    for (long long i = first; i < n_sets * n; i += (long long)gridDim.x * THREADS) {
        const long long set = i / n;
        const long long point = i % n;
        T least = T(-1);
        for (long long m = starts[set]; m < starts[set + 1]; ++m) {
            least = fastgen::lesser(distances[members[m] * n + point], least);
        }
        out[i] = least < T(0) ? T(0) : least;
    }
}

// columns: (d, n), the points with a coordinate to a row.
template <typename T>
__global__ void __launch_bounds__(THREADS)
point_set_distances(const T* columns, const long long* starts, const long long* members,
                    long long n, int d, long long n_sets, T* out) {
    const long long first = (long long)blockIdx.x * THREADS + threadIdx.x;
    for (long long i = first; i < n_sets * n; i += (long long)gridDim.x * THREADS) {
        const long long set = i / n;
        const T* point = columns + i % n;
        T least = T(-1);
        for (long long m = starts[set]; m < starts[set + 1]; ++m) {
            const T square = fastgen::strided_square(point, columns + members[m], d, n);
            least = fastgen::lesser(square, least);
        }
        out[i] = least < T(0) ? T(0) : sqrt(least);
    }
}
