// Kernel density sums of nonparametric mixtures, as in kernels/cpu/smoothing.py.
//
// Points are the sorted distinct values of each block of coordinates; block l holds the points
// starts[l] .. starts[l + 1]. Arrays over components are `pitch` wide, zero beyond n_components.
// Blocks of THREADS threads; sums have a fixed order, so that results repeat to the bit.
#include "include/block.cuh"
#include "include/smoothing.cuh"

struct Add {
    template <typename T>
    __device__ __forceinline__ T operator()(T a, T b) const {
        return a + b;
    }
};

// posteriors: (n, n_components). rows: entries sorted by point; point u has rows[bounds[u]] up to
// rows[bounds[u + 1] - 1]. out: (n_points, pitch). One thread to an entry of out.
template <typename T>
__global__ void __launch_bounds__(THREADS)
block_weights(const T* posteriors, const long long* rows, const long long* bounds,
              long long n_points, int n_components, int pitch, T* out) {
    const long long first = (long long)blockIdx.x * THREADS + threadIdx.x;
    for (long long i = first; i < n_points * pitch; i += (long long)gridDim.x * THREADS) {
        const long long u = i / pitch;
        const int j = int(i % pitch);
        T total = T(0);
        if (j < n_components) {
            for (long long m = bounds[u]; m < bounds[u + 1]; ++m) {
                total += posteriors[rows[m] * n_components + j];
            }
        }
        out[i] = total;
    }
}

// widths: (n_blocks, n_components). out: (n_blocks, n_grid, pitch). One block to an entry of out.
template <typename T>
__global__ void __launch_bounds__(THREADS)
grid_sums(const T* values, const long long* starts, const T* weights, const T* origins,
          const T* steps, const T* widths, int n_blocks, int n_components, int n_grid, int pitch,
          T* out) {
    const long long n_out = (long long)n_blocks * n_grid * pitch;
    for (long long i = blockIdx.x; i < n_out; i += gridDim.x) {
        const int block = int(i / ((long long)n_grid * pitch));
        const int j = int(i % pitch);
        if (j >= n_components) {
            if (threadIdx.x == 0) out[i] = T(0);
            continue;
        }
        const T at = origins[block] + T(i / pitch % n_grid) * steps[block];
        const T width = widths[block * n_components + j];
        T total = T(0);
        for (long long u = starts[block] + threadIdx.x; u < starts[block + 1]; u += THREADS) {
            total += fastgen::gaussian(values[u] - at, width) * weights[u * pitch + j];
        }
        total = fastgen::block_reduce(total, Add());
        if (threadIdx.x == 0) out[i] = total;
    }
}

// logs: (n_blocks, n_grid, pitch). out: (n_points, pitch). One thread to an entry of out.
template <typename T>
__global__ void __launch_bounds__(THREADS)
smoothed_logs(const T* values, const long long* starts, const T* logs, const T* origins,
              const T* steps, const T* widths, long long n_points, int n_blocks, int n_components,
              int n_grid, int pitch, T* out) {
    const long long first = (long long)blockIdx.x * THREADS + threadIdx.x;
    for (long long i = first; i < n_points * pitch; i += (long long)gridDim.x * THREADS) {
        const long long u = i / pitch;
        const int j = int(i % pitch);
        const int block = fastgen::block_of(starts, n_blocks, u);
        out[i] = T(0);
        if (j < n_components) {
            out[i] = fastgen::smooth(logs + (long long)block * n_grid * pitch + j, n_grid, pitch,
                                     origins[block], steps[block],
                                     widths[block * n_components + j], values[u]);
        }
    }
}

// out: (n_points, pitch). One block to an entry of out.
template <typename T>
__global__ void __launch_bounds__(THREADS)
pair_sums(const T* values, const long long* starts, const T* weights, const T* widths,
          long long n_points, int n_blocks, int n_components, int pitch, T* out) {
    for (long long i = blockIdx.x; i < n_points * pitch; i += gridDim.x) {
        const long long u = i / pitch;
        const int j = int(i % pitch);
        if (j >= n_components) {
            if (threadIdx.x == 0) out[i] = T(0);
            continue;
        }
        const int block = fastgen::block_of(starts, n_blocks, u);
        const T width = widths[block * n_components + j];
        T total = T(0);
        for (long long v = starts[block] + threadIdx.x; v < starts[block + 1]; v += THREADS) {
            total += fastgen::gaussian(values[u] - values[v], width) * weights[v * pitch + j];
        }
        total = fastgen::block_reduce(total, Add());
        if (threadIdx.x == 0) out[i] = total;
    }
}

// logs: (n_points, pitch). index: (n, n_features). out: (n, n_components). rows: (n,), the log
// densities of the mixture. One thread to a row.
template <typename T>
__global__ void __launch_bounds__(THREADS)
posteriors(const T* logs, const long long* index, const T* log_weights, long long n,
           int n_features, int n_components, int pitch, T* out, T* rows) {
    const long long first = (long long)blockIdx.x * THREADS + threadIdx.x;
    for (long long i = first; i < n; i += (long long)gridDim.x * THREADS) {
        T* mine = out + i * n_components;
        T peak = T(0);
        for (int j = 0; j < n_components; ++j) {
            T total = log_weights[j];
            for (int c = 0; c < n_features; ++c) {
                total += logs[index[i * n_features + c] * pitch + j];
            }
            mine[j] = total;
            if (j == 0 || total > peak) peak = total;
        }
        T mass = T(0);
        for (int j = 0; j < n_components; ++j) {
            mine[j] = exp(mine[j] - peak);
            mass += mine[j];
        }
        for (int j = 0; j < n_components; ++j) mine[j] /= mass;
        rows[i] = peak + log(mass);
    }
}
