// What the threads of one block do together. The kernels are launched with blocks of THREADS.
#pragma once

constexpr int THREADS = 128;

namespace fastgen {

// Combine one value per thread. Every thread of the block calls it and gets the same result; the
// order of operations is fixed.
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

}  // namespace fastgen
