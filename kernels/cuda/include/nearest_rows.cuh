// Arithmetic of nearest rows: sums of squared differences over tiles, and lists of the smallest.
// No launch variables and no headers: the same text is compiled by NVRTC, nvcc and, in the tests,
// by a host compiler.
#pragma once

namespace fastgen {

// Longest list of nearest rows, and one tile: QUERIES by ROWS pairs, DEPTH coordinates at a time.
constexpr int CAPACITY = 32;
constexpr int QUERIES = 32;
constexpr int ROWS = 64;
constexpr int DEPTH = 16;
// Value of a free place of a list; its column is -1. Screened values are of order one.
constexpr float EMPTY = 1e30f;

// Whether a pair comes before another: equal values are in the order of their columns.
template <typename T>
__device__ __forceinline__ bool before(T value, int column, T other, int other_column) {
    return value < other || (value == other && column < other_column);
}

// Put a pair into a list in increasing order, where the last one falls out; false if it is beyond.
template <typename T>
__device__ __forceinline__ bool insert(T value, int column, int keep, T* values, int* columns) {
    int at = keep - 1;
    if (!before(value, column, values[at], columns[at])) return false;
    for (; at > 0 && before(value, column, values[at - 1], columns[at - 1]); --at) {
        values[at] = values[at - 1];
        columns[at] = columns[at - 1];
    }
    values[at] = value;
    columns[at] = column;
    return true;
}

template <typename T>
__device__ __forceinline__ void clear(int keep, T* values, int* columns) {
    for (int i = 0; i < keep; ++i) {
        values[i] = T(EMPTY);
        columns[i] = -1;
    }
}

// Squared distance of two rows in float64, summed from the first coordinate to the last: equal rows
// have equal distances, wherever they are evaluated.
template <typename T>
__device__ __forceinline__ double squared_distance(const T* x, const T* y, int d) {
    double total = 0.0;
    for (int k = 0; k < d; ++k) {
        const double gap = double(x[k]) - double(y[k]);
        total += gap * gap;
    }
    return total;
}

// A tile of pairs: each thread sums MINE_QUERIES by MINE_ROWS of them, STEP_QUERIES and STEP_ROWS
// apart, so that the threads of a warp read neighbouring memory banks.
template <typename T>
struct DistanceTile {
    static constexpr int LD_QUERIES = QUERIES + 1;
    static constexpr int LD_ROWS = ROWS + 1;
    static constexpr int STEP_ROWS = 16;
    static constexpr int MINE_ROWS = ROWS / STEP_ROWS;
    static constexpr int STEP_QUERIES = THREADS / STEP_ROWS;
    static constexpr int MINE_QUERIES = QUERIES / STEP_QUERIES;

    // Store coordinates k .. k + DEPTH of `height` rows, transposed; zeros beyond n_rows and d.
    static __device__ __forceinline__ void load(const T* rows, long long first, long long n_rows,
                                                int height, int k, int d, T scale, int thread,
                                                int ld, T* tile) {
        const int column = thread % DEPTH;
        for (int row = thread / DEPTH; row < height; row += THREADS / DEPTH) {
            const bool inside = first + row < n_rows && k + column < d;
            tile[column * ld + row] =
                inside ? rows[(first + row) * d + k + column] * scale : T(0);
        }
    }

    // Add the squared differences of one depth of the tile. They are summed apart first: the error
    // grows with DEPTH + d / DEPTH in place of d.
    static __device__ __forceinline__ void accumulate(const T* x, const T* y, int query, int row,
                                                      T (&sum)[MINE_QUERIES][MINE_ROWS]) {
        T part[MINE_QUERIES][MINE_ROWS] = {};
        for (int k = 0; k < DEPTH; ++k) {
            T a[MINE_QUERIES];
            T b[MINE_ROWS];
            for (int i = 0; i < MINE_QUERIES; ++i) {
                a[i] = x[k * LD_QUERIES + query + i * STEP_QUERIES];
            }
            for (int j = 0; j < MINE_ROWS; ++j) b[j] = y[k * LD_ROWS + row + j * STEP_ROWS];
            for (int i = 0; i < MINE_QUERIES; ++i) {
                for (int j = 0; j < MINE_ROWS; ++j) {
                    const T gap = a[i] - b[j];
                    part[i][j] += gap * gap;
                }
            }
        }
        for (int i = 0; i < MINE_QUERIES; ++i) {
            for (int j = 0; j < MINE_ROWS; ++j) sum[i][j] += part[i][j];
        }
    }
};

}  // namespace fastgen
