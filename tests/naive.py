"""The oracle: every kernel and every closed form of fastgen, as the formula reads. NumPy only.

Nothing here is fast and nothing here imports fastgen. Matrices follow the mathematics: data ``X``
is ``(d, n)``, pseudo-latents ``Z`` are ``(k, n)``, a generator ``G`` is ``(d, k)``.
"""

import numpy as np

# --- kernels -----------------------------------------------------------------------------------


def nuclear_norms(stack):
    """Sum of singular values of every matrix of a stack (b, rows, cols)."""
    return np.array([np.linalg.svd(t, compute_uv=False).sum() for t in stack])


def leading_path(f, y, inverse, ks):
    """Nuclear norms of f[:, :k] inverse[:k, :k] and squared norms of the same with y."""
    nuclear = [np.linalg.norm(f[:, :k] @ inverse[:k, :k], "nuc") for k in ks]
    return np.array(nuclear), np.array([((y[:, :k] @ inverse[:k, :k]) ** 2).sum() for k in ks])


def tall_path(square, rows, counts, f, y):
    """Nuclear norms of f Z^+ and squared norms of y Z^+, Z the rows of square and counts more."""
    pinvs = [np.linalg.pinv(np.vstack([square, rows[:c]])) for c in counts]
    nuclear = [np.linalg.norm(f @ p, "nuc") for p in pinvs]
    return np.array(nuclear), np.array([((y @ p) ** 2).sum() for p in pinvs])


def add_rows(r, rows):
    """Upper triangular factor of the QR decomposition, with a positive diagonal."""
    upper = np.linalg.qr(np.vstack([r, rows]), mode="r")
    return upper * np.sign(np.diagonal(upper))[:, None]


# --- linear generators ---------------------------------------------------------------------------


def sqrtm_psd(S):
    """Symmetric square root; eigenvalues at rounding level, of either sign, are zero."""
    w, V = np.linalg.eigh(S)
    return (V * np.sqrt(np.where(w > 1e-14 * w[-1], w, 0))) @ V.T


def w2(G, S):
    """Squared 2-Wasserstein distance between N(0, G G^T) and N(0, S)."""
    return np.trace(S) + (G**2).sum() - 2 * np.linalg.norm(sqrtm_psd(S) @ G, "nuc")


def range_basis(G, tol=1e-9):
    """Orthonormal basis of the range of G, but for singular values below tol times the largest."""
    U, s, _ = np.linalg.svd(G, full_matrices=False)
    return U[:, s > tol * s.max()]


def projection_error(G, S, tol=1e-9):
    """E ||x - G G^+ x||^2 for x ~ N(0, S)."""
    U = range_basis(G, tol)
    R = np.eye(len(S)) - U @ U.T
    return np.trace(R @ S @ R)


def pair_error(G, X, Z):
    """Mean squared error of the pairs, ||X - G Z||^2 / n."""
    return ((X - G @ Z) ** 2).sum() / X.shape[1]


def unsupervised(X, k):
    """P0: PCA, the minimiser of W2(N(0, G G^T), N(0, X X^T / n)) over d x k maps."""
    U, s, _ = np.linalg.svd(X / np.sqrt(X.shape[1]), full_matrices=False)
    k = min(k, s.size)
    return U[:, :k] * s[:k]


def unsupervised_train_error(X, k):
    """The minimum of P0: the tail of the sample covariance's eigenvalues."""
    return (np.linalg.svd(X / np.sqrt(X.shape[1]), compute_uv=False)[k:] ** 2).sum()


def pseudo_supervised(X, Z):
    """P1: the minimum-norm minimiser of ||X - G Z||."""
    return X @ np.linalg.pinv(Z)


def ridge(X, Z, ridge):
    """Minimiser of ||X - G Z||^2 / n + ridge ||G||^2."""
    n = X.shape[1]
    return np.linalg.solve(Z @ Z.T + ridge * n * np.eye(len(Z)), Z @ X.T).T


def procrustes(X, Z, tol=1e-9):
    """Maximiser of <X Z^T, G> over partial isometries; of all of them the nearest to eye(d, k)."""
    U, s, Vt = np.linalg.svd(X @ Z.T, full_matrices=False)
    r = (s > tol * s.max()).sum()
    U, Vt = U[:, :r], Vt[:r]
    G = U @ Vt
    d, k = G.shape
    free = min(d, k) - r
    if free:
        C = (np.eye(d) - U @ U.T) @ np.eye(d, k) @ (np.eye(k) - Vt.T @ Vt)
        Uc, _, Vct = np.linalg.svd(C, full_matrices=False)
        G = G + Uc[:, :free] @ Vct[:free]
    return G


def reduced_rank(X, Z, rank):
    """Minimiser of ||X - G Z|| over maps of rank at most ``rank`` (of minimum norm)."""
    G = X @ np.linalg.pinv(Z)
    U, _, _ = np.linalg.svd(G @ Z, full_matrices=False)
    U = U[:, :rank]
    return U @ (U.T @ G)


def cell(problem, X, Z, n_supervised, S, ridge_=0.1, rank=None):
    """The four metrics of one (problem, n_supervised, k) cell; Z is (k, n)."""
    Xs, Zs = X[:, :n_supervised], Z[:, :n_supervised]
    if problem == "unsupervised":
        G = unsupervised(X, len(Z))
        train = unsupervised_train_error(X, len(Z))
    else:
        G = {
            "pseudo_supervised": lambda: pseudo_supervised(Xs, Zs),
            "ridge": lambda: ridge(Xs, Zs, ridge_),
            "procrustes": lambda: procrustes(Xs, Zs),
            "reduced_rank": lambda: reduced_rank(Xs, Zs, rank),
        }[problem]()
        train = pair_error(G, Xs, Zs)
    return {
        "w2": w2(G, S),
        "projection_error": projection_error(G, S),
        "train_error": train,
        "gain": (G**2).sum() / np.trace(S),
    }
