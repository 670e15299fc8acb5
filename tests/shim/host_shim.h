// Run CUDA C kernels on the CPU: every thread of a block is a real thread, __syncthreads a barrier.
// For tests on machines without a GPU; tiny grids only.
//
// It does not show warp scheduling, occupancy, memory limits, a barrier skipped by part of a block
// (a thread that returns is dropped, as on the device), shuffle masks (ignored), races between
// blocks (they run one at a time) or uninitialised shared memory (statics start at zero). Shared
// arrays must be static, and blocks that shuffle a multiple of 32 threads.
#pragma once
#include <algorithm>
#include <atomic>
#include <barrier>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static  // one block runs at a time, so a static is per-block storage
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
inline thread_local dim3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

namespace shim {

inline std::unique_ptr<std::barrier<>> block_barrier;
inline std::vector<std::unique_ptr<std::barrier<>>> warp_barrier;
inline std::vector<std::uint64_t> lane_slot;

inline unsigned linear() {
    return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}

template <typename Kernel, typename... Args>
void launch(dim3 grid, dim3 block, Kernel kernel, Args... args) {
    gridDim = grid;
    blockDim = block;
    const unsigned n = block.x * block.y * block.z;
    lane_slot.assign(n, 0);
    for (unsigned b = 0; b < grid.x * grid.y * grid.z; ++b) {
        block_barrier = std::make_unique<std::barrier<>>(n);
        warp_barrier.clear();
        for (unsigned first = 0; first < n; first += 32) {
            warp_barrier.push_back(std::make_unique<std::barrier<>>(std::min(32u, n - first)));
        }
        std::vector<std::thread> pool;
        for (unsigned t = 0; t < n; ++t) {
            pool.emplace_back([=] {
                blockIdx = {b % grid.x, b / grid.x % grid.y, b / (grid.x * grid.y)};
                threadIdx = {t % block.x, t / block.x % block.y, t / (block.x * block.y)};
                kernel(args...);
                warp_barrier[t / 32]->arrive_and_drop();
                block_barrier->arrive_and_drop();  // CUDA: exited threads no longer count
            });
        }
        for (auto& thread : pool) thread.join();
    }
}

// One kernel argument: its bytes, and the size of one element for the check of its type.
struct Argument {
    void* data;
    std::size_t itemsize;
};

template <typename A>
constexpr std::size_t size_of() {
    return sizeof(std::conditional_t<std::is_pointer_v<A>, std::remove_pointer_t<A>, A>);
}

template <typename A>
A get(const Argument& argument) {
    if constexpr (std::is_pointer_v<A>) {
        return static_cast<A>(argument.data);
    } else {
        return *static_cast<A*>(argument.data);
    }
}

template <typename... A, std::size_t... I>
int call(void (*kernel)(A...), unsigned grid, unsigned block, const Argument* arguments,
         std::size_t count, std::index_sequence<I...>) {
    if (count != sizeof...(A)) return 100;
    int wrong = 0;
    ((wrong = wrong == 0 && arguments[I].itemsize != size_of<A>() ? int(I) + 1 : wrong), ...);
    if (wrong != 0) return wrong;
    launch(dim3{grid}, dim3{block}, kernel, get<A>(arguments[I])...);
    return 0;
}

// 0, or the position (from 1) of the first argument of a wrong size, or 100 for a wrong count.
template <typename... A>
int call(void (*kernel)(A...), unsigned grid, unsigned block, const Argument* arguments,
         std::size_t count) {
    return call(kernel, grid, block, arguments, count, std::index_sequence_for<A...>());
}

}  // namespace shim

inline void __syncthreads() { shim::block_barrier->arrive_and_wait(); }
inline void __syncwarp(unsigned = ~0u) {
    shim::warp_barrier[shim::linear() / 32]->arrive_and_wait();
}
template <typename T>
T shim_exchange(T value, unsigned source) {
    std::memcpy(&shim::lane_slot[shim::linear()], &value, sizeof value);
    __syncwarp();
    T out;
    std::memcpy(&out, &shim::lane_slot[source], sizeof out);
    __syncwarp();
    return out;
}
template <typename T>
T __shfl_down_sync(unsigned, T value, unsigned delta) {
    const unsigned me = shim::linear();
    return shim_exchange(value, me % 32 + delta < 32 ? me + delta : me);
}
template <typename T>
T __shfl_xor_sync(unsigned, T value, unsigned mask) {
    return shim_exchange(value, shim::linear() ^ mask);
}
template <typename T>
T atomicAdd(T* address, T value) {
    return std::atomic_ref<T>(*address).fetch_add(value);
}
