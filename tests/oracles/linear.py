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


def free_latents(X, Z, n_pairs, G, sweeps=400, tol=1e-9):
    """P2 by alternation: latents of the unpaired samples, then the generator.

    Returns the generator and the objective ||X_s - G Z_s||^2 + ||X_u - G Z_u||^2 of every sweep.
    """
    Zs, Xu = Z[:, :n_pairs], X[:, n_pairs:]
    history = []
    for _ in range(sweeps):
        latents = np.hstack([Zs, np.linalg.pinv(G) @ Xu])
        G = X @ np.linalg.pinv(latents)
        history.append(((X - G @ latents) ** 2).sum())
        if len(history) > 1 and history[-2] - history[-1] <= tol * history[-2]:
            break
    return G, np.array(history)


def free_latents_minimum(X, Z, n_pairs, k):
    """The global minimum of P2 (Theorem A4 of the notes on linear generators)."""
    Xs, Zs = X[:, :n_pairs], Z[:, :n_pairs]
    if k >= n_pairs:
        return (np.linalg.svd(X, compute_uv=False)[k:] ** 2).sum()
    Q = np.linalg.qr(Zs.T)[0].T
    rest = np.hstack([Xs @ Q.T, X[:, n_pairs:]])
    tail = (np.linalg.svd(rest, compute_uv=False)[k:] ** 2).sum()
    return ((Xs - Xs @ Q.T @ Q) ** 2).sum() + tail


def free_latents_lexicographic(X, Z, n_pairs):
    """P2 with unit-variance latents that interpolates the pairs first."""
    Xs, Zs, Xu = X[:, :n_pairs], Z[:, :n_pairs], X[:, n_pairs:]
    G = Xs @ np.linalg.pinv(Zs)
    rank = min(len(Zs) - n_pairs, Xu.shape[1], len(X) - n_pairs)
    if rank <= 0:
        return G
    U, s, _ = np.linalg.svd(Xu - Xs @ (np.linalg.pinv(Xs) @ Xu), full_matrices=False)
    N = np.linalg.qr(Zs, mode="complete")[0][:, n_pairs:]
    return G + (U[:, :rank] * s[:rank]) / np.sqrt(Xu.shape[1]) @ N[:, :rank].T


def penalized_objective(X, Z, n_pairs, G, weight):
    """P3: weight times the pair error plus W2 to the sample covariance."""
    sample = X @ X.T / X.shape[1]
    return weight * pair_error(G, X[:, :n_pairs], Z[:, :n_pairs]) + w2(G, sample)


def penalized(X, Z, n_pairs, G, weight=10.0, sweeps=200):
    """P3 by alternation: the polar factor of S^(1/2) G, then a ridge-like solve."""
    Xs, Zs = X[:, :n_pairs], Z[:, :n_pairs]
    half = sqrtm_psd(X @ X.T / X.shape[1])
    a = weight / n_pairs
    A = np.linalg.inv(a * Zs @ Zs.T + np.eye(len(Zs)))
    for _ in range(sweeps):
        U, _, Vt = np.linalg.svd(half @ G, full_matrices=False)
        G = (a * Xs @ Zs.T + half @ (U @ Vt)) @ A
    return G


def constrained(X, Z, n_pairs, G, sweeps=200):
    """P4 by alternation: the pairs interpolated, the distribution matched with what is left."""
    Xs, Zs = X[:, :n_pairs], Z[:, :n_pairs]
    half = sqrtm_psd(X @ X.T / X.shape[1])
    Zp = np.linalg.pinv(Zs)
    N = np.eye(len(Zs)) - Zs @ Zp
    for _ in range(sweeps):
        U, _, Vt = np.linalg.svd(half @ G, full_matrices=False)
        G = Xs @ Zp + half @ (U @ Vt) @ N
    return G


CLOSED = ("unsupervised", "pseudo_supervised", "ridge", "procrustes", "reduced_rank")


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


# --- the supervision-orthonormality plane (X is p x n, Z is k x n_s, W is p x k) ------------------


def clip_singular_values(W, low, high):
    """Nearest matrix with singular values in [low, high]."""
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    return U @ np.diag(np.clip(s, low, high)) @ Vt


def subspace_objective(W, X, Z):
    """Mean squared error of the targets plus that of W W^T x over the samples without target."""
    n_s = Z.shape[1]
    Xs, Xu = X[:, :n_s], X[:, n_s:]
    value = 0.0
    if n_s:
        value += ((Z - W.T @ Xs) ** 2).sum() / n_s
    if Xu.shape[1]:
        value += ((Xu - W @ (W.T @ Xu)) ** 2).sum() / Xu.shape[1]
    return value


def subspace_gradient(W, X, Z):
    n_s = Z.shape[1]
    Xs, Xu = X[:, :n_s], X[:, n_s:]
    G = np.zeros_like(W)
    if n_s:
        G = G + 2 / n_s * Xs @ (W.T @ Xs - Z).T
    if Xu.shape[1]:
        Y = W.T @ Xu
        R = Xu - W @ Y
        G = G - 2 / Xu.shape[1] * (R @ Y.T + Xu @ (R.T @ W))
    return G


def subspace_descent(X, Z, W, low, high, max_iter=1500):
    """Projected gradient with backtracking; returns W and the objectives."""
    n_s, n_u = Z.shape[1], X.shape[1] - Z.shape[1]
    Xs, Xu = X[:, :n_s], X[:, n_s:]
    curvature = 2 * np.linalg.norm(Xs @ Xs.T) / n_s if n_s else 0.0
    curvature += 4 * np.linalg.norm(Xu @ Xu.T) / n_u if n_u else 0.0
    mu = 1 / curvature
    W = clip_singular_values(W, low, high)
    L = subspace_objective(W, X, Z)
    history = [L]
    for _ in range(max_iter):
        G = subspace_gradient(W, X, Z)
        for _ in range(100):
            V = clip_singular_values(W - mu * G, low, high)
            D = V - W
            new = subspace_objective(V, X, Z)
            if new <= L + (G * D).sum() + (D**2).sum() / (2 * mu) + 1e-15:
                break
            mu /= 2
        W, L = V, new
        history.append(L)
        mu *= 1.3
    return W, np.array(history)


def subspace_corner(X, Z, k, slack):
    """Closed forms: top-k eigenvectors without targets, minimum norm with all and no constraint."""
    if Z.shape[1] == 0:
        return np.linalg.svd(X, full_matrices=False)[0][:, :k]
    assert Z.shape[1] == X.shape[1]
    assert np.isinf(slack)
    return np.linalg.pinv(X.T) @ Z.T


def subspace_errors(W, U, noise_variance):
    """E ||z - W^T x||^2 and E ||(I - W W^T) x||^2 for x = U z + eps; U holds the observed rows."""
    p, m = U.shape
    C = U @ U.T + noise_variance * np.eye(p)
    R = np.eye(p) - W @ W.T
    supervised = m - 2 * (W * U).sum() + np.trace(W.T @ C @ W)
    return supervised, np.trace(R @ C @ R)
