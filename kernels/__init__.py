r"""The hot paths of fastgen, and nothing else.

    fastgen.linear, .metrics, ...     validate, name the result
                |
        fastgen._dispatch             chooses by array type, size and dtype
            /          \
     kernels.cpu     kernels.cuda     contiguous arrays of one dtype in and out
        (Numba)      (CUDA C, CuPy)
            \          /
       kernels.quadrature, ...        numbers both need

A kernel checks nothing and imports nothing from the rest of the package. On the CPU the unit of
parallelism is the trial (or image, or pair): kernels release the interpreter lock and joblib runs
them in threads, so that small work never pays for a parallel region. Inside a kernel eight small
problems share the lanes of a vector register (``cpu/simd.py``). README.md beside this file says
what each kernel computes, what it costs and how to add one.
"""
