// The operations of ops.py and noise_ops.py on a CUDA device.
//
// ops_cupy.py compiles this file twice, with -DREAL=float and with -DREAL=double. Arrays are
// C-contiguous, one sample a row. A null pointer leaves out the part of a kernel that needs it.

#ifndef REAL
#define REAL float
#endif
typedef REAL T;
typedef long long Int;

enum { IDENTITY, RELU, SIGMOID, TANH, SOFTPLUS };  // numbered as in ACTIVATIONS of ops.py

// Threads of a block of ddnmf_delta, across (a warp) and down, and rows that each thread loads at
// once. ops_cupy.py launches it with the same numbers.
constexpr int COLUMNS = 32, ROWS = 16, AHEAD = 4;

// Equation 1: f(z). NaN stays NaN, because both z > 0 and -z > bound are false for it.
__device__ T activation(int kind, T z, T bound) {
    switch (kind) {
        case RELU: return z > (T)0 || z != z ? z : (T)0;
        case SIGMOID: return (T)1 / ((T)1 + exp(-z > bound ? bound : -z));
        case TANH: return tanh(z);
        case SOFTPLUS: return (z > (T)0 ? z : (T)0) + log1p(exp(-fabs(z)));
        default: return z;
    }
}

// Equations 9 and 10: f'(z) g, where f' is written as a function of h.
__device__ T times_derivative(int kind, T h, T g) {
    switch (kind) {
        case RELU: return h > (T)0 ? g : g * (T)0;
        case SIGMOID: return g * (((T)1 - h) * h);
        case TANH: return g * ((T)1 - h * h);
        case SOFTPLUS: return g * -expm1(-h);
        default: return g;
    }
}

// Equation 1: z = f(z + b) in every row.
extern "C" __global__ void ddnmf_activate(
        int kind, Int n, Int width, T bound, const T* b, T* z) {
    Int j = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (j >= width) return;
    T bias = b ? b[j] : (T)0;
    for (Int i = blockIdx.y; i < n; i += gridDim.y)
        z[i * width + j] = activation(kind, z[i * width + j] + bias, bound);
}

// Adds up two numbers over the threads of a warp, always in the same order. The warp's first thread
// gets the sums.
__device__ void warp_sums(double& one, double& two) {
    for (int step = 16; step > 0; step /= 2) {
        one += __shfl_down_sync(0xFFFFFFFFu, one, step);
        two += __shfl_down_sync(0xFFFFFFFFu, two, step);
    }
}

// Equations 9 and 10: dh += c1 (h - ref1) + c2 (h - ref2), dh = f'(z) dh, db = sum of dh over rows.
// Equations 4 to 6: total += ||h - ref||^2.
// Each block computes its own columns, counted from `first`; no other block adds to its entries of
// db. Each warp computes a row.
extern "C" __global__ void __launch_bounds__(ROWS * COLUMNS) ddnmf_delta(
        int kind, Int n, Int width, Int first, const T* h,
        const T* ref1, T c1, const T* ref2, T c2,
        T* dh, T* db, double* total1, double* total2, double* partial, unsigned int* done) {
    __shared__ T column[ROWS][COLUMNS];
    __shared__ double squares1[ROWS], squares2[ROWS];
    __shared__ bool last;
    int x = threadIdx.x, y = threadIdx.y;
    Int j = first + blockIdx.x * (Int)COLUMNS + x;
    double square1 = 0, square2 = 0;
    T sum = 0;
    for (Int start = y; j < width && start < n; start += AHEAD * ROWS) {
        // A load after a store would wait for it, so we first load several rows.
        T hk[AHEAD], g[AHEAD], r1[AHEAD], r2[AHEAD];
        #pragma unroll
        for (int u = 0; u < AHEAD; ++u) {
            Int i = start + u * ROWS, k = i * width + j;
            bool inside = i < n;
            hk[u] = inside ? h[k] : (T)0;
            g[u] = inside && dh ? dh[k] : (T)0;
            r1[u] = inside && ref1 ? ref1[k] : (T)0;
            r2[u] = inside && ref2 ? ref2[k] : (T)0;
        }
        #pragma unroll
        for (int u = 0; u < AHEAD; ++u) {
            Int i = start + u * ROWS;
            if (i >= n) break;
            if (ref1) {
                T d = hk[u] - r1[u];
                square1 += (double)d * (double)d;
                g[u] += c1 * d;
            }
            if (ref2) {
                T d = hk[u] - r2[u];
                square2 += (double)d * (double)d;
                g[u] += c2 * d;
            }
            if (dh) {
                g[u] = times_derivative(kind, hk[u], g[u]);
                dh[i * width + j] = g[u];
                sum += g[u];
            }
        }
    }
    column[y][x] = sum;
    warp_sums(square1, square2);
    if (x == 0) {
        squares1[y] = square1;
        squares2[y] = square2;
    }
    __syncthreads();
    if (db && y == 0 && j < width) {
        for (int r = 1; r < ROWS; ++r) sum += column[r][x];
        db[j] = sum;
    }
    if (!total1 && !total2) return;
    // The block that finishes last adds up the sums of all blocks, always in the same order, so the
    // result does not depend on which block that is. Fences and volatile make the sums of the other
    // blocks visible to it.
    if (x == 0 && y == 0) {
        for (int r = 1; r < ROWS; ++r) {
            square1 += squares1[r];
            square2 += squares2[r];
        }
        volatile double* mine = partial + 2 * blockIdx.x;
        mine[0] = square1;
        mine[1] = square2;
        __threadfence();
        last = atomicAdd(done, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last || y > 0) return;
    __threadfence();
    const volatile double* all = partial;
    square1 = square2 = 0;
    for (unsigned int block = x; block < gridDim.x; block += COLUMNS) {
        square1 += all[2 * block];
        square2 += all[2 * block + 1];
    }
    warp_sums(square1, square2);
    if (x == 0) {
        if (total1) *total1 += square1;
        if (total2) *total2 += square2;
        *done = 0;
    }
}

// Equation 8 and its refinements, one parameter a thread. The compiler must assume that arrays
// overlap, so a load after a store would wait for it; we therefore load every value before we store
// the first. `big` and `big_v` set denormal moments to zero, see flush_constant in ops.py.

extern "C" __global__ void ddnmf_descend(Int size, const T* g, const T* lr, T* p) {
    Int k = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (k < size) p[k] -= g[k] * lr[0];
}

extern "C" __global__ void ddnmf_momentum(
        Int size, const T* g, const T* lr, T mu, T big, T* v, T* p) {
    Int k = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (k >= size) return;
    T vk = ((v[k] * mu + g[k]) + big) - big;
    T pk = p[k] - vk * lr[0];
    v[k] = vk;
    p[k] = pk;
}

extern "C" __global__ void ddnmf_adam(
        Int size, const T* g, const T* scales, T b1, T c1, T b2, T c2, T big, T big_v,
        T* m, T* v, T* p) {
    Int k = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (k >= size) return;
    T gk = g[k];
    T mk = ((m[k] * b1 + gk * c1) + big) - big;
    T vk = ((v[k] * b2 + (gk * gk) * c2) + big_v) - big_v;
    T pk = p[k] - (mk / (sqrt(vk) + scales[1])) * scales[0];
    m[k] = mk;
    v[k] = vk;
    p[k] = pk;
}

// Writes the numbers of a step, which the descent rules read.
extern "C" __global__ void ddnmf_write(T a, T b, T* out) {
    out[0] = a;
    out[1] = b;
}

// Copies the rows x[index] into out.
extern "C" __global__ void ddnmf_gather(
        Int n, Int width, const T* x, const Int* index, T* out) {
    Int j = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (j >= width) return;
    for (Int i = blockIdx.y; i < n; i += gridDim.y) out[i * width + j] = x[index[i] * width + j];
}

// Ten rounds of Philox: four random words, for the features 4 block to 4 block + 3 of a sample.
__device__ void philox4x32(
        unsigned int block, Int index, unsigned int epoch, unsigned int k0, unsigned int k1,
        unsigned int* word) {
    unsigned int c0 = block, c1 = (unsigned int)index, c3 = epoch;
    unsigned int c2 = (unsigned int)((unsigned long long)index >> 32);
    for (int round = 0; round < 10; ++round) {
        unsigned long long p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
        c0 = (unsigned int)(p1 >> 32) ^ c1 ^ k0;
        c2 = (unsigned int)(p0 >> 32) ^ c3 ^ k1;
        c1 = (unsigned int)p1;
        c3 = (unsigned int)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    word[0] = c0;
    word[1] = c1;
    word[2] = c2;
    word[3] = c3;
}

// Equation 2, masking and salt-and-pepper: value0 where the word is below limit0, value1 where it
// is below limit1, x * scale elsewhere. `there` points to the epoch if that is on the device.
extern "C" __global__ void ddnmf_replace(
        Int n, Int width, unsigned int k0, unsigned int k1, unsigned int epoch, const Int* there,
        unsigned long long limit0, unsigned long long limit1, T value0, T value1, T scale,
        const T* x, const Int* index, T* out) {
    Int block = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (4 * block >= width) return;
    if (there) epoch = (unsigned int)*there;
    unsigned int word[4];
    for (Int i = blockIdx.y; i < n; i += gridDim.y) {
        philox4x32((unsigned int)block, index[i], epoch, k0, k1, word);
        for (int lane = 0; lane < 4 && 4 * block + lane < width; ++lane) {
            Int k = i * width + 4 * block + lane;
            unsigned long long w = word[lane];
            out[k] = w < limit0 ? value0 : w < limit1 ? value1 : x[k] * scale;
        }
    }
}

// Equation 2, Gaussian noise by Box and Muller's transform: two deviates from each pair of words.
extern "C" __global__ void ddnmf_add_gaussian(
        Int n, Int width, unsigned int k0, unsigned int k1, unsigned int epoch, const Int* there,
        double minus_two_variance, double radians, const T* x, const Int* index, T* out) {
    Int block = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (4 * block >= width) return;
    if (there) epoch = (unsigned int)*there;
    unsigned int word[4];
    for (Int i = blockIdx.y; i < n; i += gridDim.y) {
        philox4x32((unsigned int)block, index[i], epoch, k0, k1, word);
        for (int lane = 0; lane < 4 && 4 * block + lane < width; ++lane) {
            Int k = i * width + 4 * block + lane;
            int pair = lane / 2 * 2;
            double radius = log(((double)word[pair] + 0.5) * (1.0 / 4294967296.0));
            radius = sqrt(radius * minus_two_variance);
            double angle = (double)word[pair + 1] * radians;
            out[k] = (T)((lane % 2 ? sin(angle) : cos(angle)) * radius) + x[k];
        }
    }
}

__device__ double centred(unsigned int word) {  // uniform on (-1, 1)
    return ((double)word + 0.5) * (1.0 / 2147483648.0) - 1.0;
}

// Equation 2, geometric noise: interpolate between the four pixels around the mapped place.
extern "C" __global__ void ddnmf_warp(
        Int n, Int size, unsigned int k0, unsigned int k1, unsigned int epoch, const Int* there,
        Int height, Int width, double shift, double rotation, double zoom, double shear,
        const T* x, const Int* index, T* out) {
    Int j = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (j >= size) return;
    if (there) epoch = (unsigned int)*there;
    double middle = (double)(height - 1) / 2, centre = (double)(width - 1) / 2;
    double row = (double)(j / width) - middle, column = (double)(j % width) - centre;
    unsigned int word[8];
    for (Int i = blockIdx.y; i < n; i += gridDim.y) {
        // Each thread draws its image's map itself: this costs less than waiting for another.
        philox4x32(0, index[i], epoch, k0, k1, word);
        philox4x32(1, index[i], epoch, k0, k1, word + 4);
        double angle = centred(word[0]) * rotation, scale = 1 + centred(word[1]) * zoom;
        double skew = centred(word[2]) * shear, c = cos(angle) / scale, s = sin(angle) / scale;
        double y = (c - s * skew) * row - s * column + centred(word[3]) * shift + middle;
        double z = (s + c * skew) * row + c * column + centred(word[4]) * shift + centre;
        double top = floor(y), left = floor(z), down = y - top, right = z - left, value = 0;
        for (int k = 0; k < 4; ++k) {
            double y1 = top + k / 2, z1 = left + k % 2;
            if (y1 >= 0 && y1 < (double)height && z1 >= 0 && z1 < (double)width) {  // false for NaN
                double weight = (k / 2 ? down : 1 - down) * (k % 2 ? right : 1 - right);
                value += weight * (double)x[i * size + (Int)y1 * width + (Int)z1];
            }
        }
        out[i * size + j] = (T)value;
    }
}
