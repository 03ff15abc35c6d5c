W=$(mktemp -d); O=$W/o; mkdir -p $O; export PYTHONPATH=$PWD:$W/site:$PYTHONPATH PYTHONUNBUFFERED=1 DDNMF_DATA=$PWD/data DDNMF_REQUIRE_GPU=1
ls data/whl/*.whl >$O/whl.log 2>&1 && python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target $W/site data/whl/*.whl
T(){ n=$1 s=$(($2*${PERCENT:-100}/100)); shift 2; timeout -k 5 $s "$@" >$O/$n.log 2>&1; echo "== $n rc=$? at $SECONDS s"; tail -n 4 $O/$n.log | cut -c1-400; tar czf "$OUT/r.new" --exclude='*.npz' -C $W o && mv "$OUT/r.new" "$OUT/r.tgz"; }
B(){ n=$1 s=$2; shift 2; T b-$n $s python3 -m ddnmf_np.bench --device cuda --cases ${CASE:-paper-128} --epochs 0 --rounds 1 --seconds 1 --threads 8 --output $O/b-$n --contestants "$@"; }
(git rev-parse HEAD; nvidia-smi; python3 -m pip list) >$O/versions.log 2>&1
P="python3 -m pytest -m gpu -q -W default -p no:cacheprovider --tb=short"
T doctor 60 python3 -m ddnmf_np.doctor
T tests 170 $P tests/backend -n 4
B ours 60 cupy
T prof 60 python3 tests/first_minutes/prof.py
T mnist 120 python3 -m ddnmf_np.train --dataset mnist --objective demo --epochs 300 --checkpoint-every 300 --backend cupy --embedding pca --output $O/mnist
B torch 60 torch
B captured 60 torch-captured
B graphs 100 torch-graphs
B tf32 50 cupy --matmul-precision high
B tf32t 50 torch-captured --matmul-precision high
B jax 60 jax
T race 90 compute-sanitizer --tool racecheck $P tests/backend/test_gpu.py -k "operation and delta"
B auto 200 torch-autotune
grep -h "^| \(engine\|PyTorch\|JAX\|matrix\|copy\)" $O/b-*/bench.md; grep "us a step" $O/prof.log; tail -n 3 $O/tests.log
