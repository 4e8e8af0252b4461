#!/usr/bin/env bash
# Type-checks the program with the feature `cuda`, on a machine without a GPU.
#
#     checks/gpu.sh TARGET            with a stand-in for NVIDIA's compiler, which writes empty kernels
#     checks/gpu.sh TARGET VENV       with the compiler from NVIDIA's Python packages, into VENV
#
# TARGET is a folder for the build, 3 GB; what it makes cannot be run without a GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$1
mkdir -p "$target"
if [ $# -ge 2 ]; then
    venv=$2
    if [ ! -d "$venv" ]; then
        python3 -m venv "$venv"
        "$venv/bin/pip" install 'nvidia-cuda-nvcc==13.0.*' 'nvidia-nvvm==13.0.*' \
            'nvidia-cuda-crt==13.0.*' 'nvidia-cuda-cccl==13.0.*' \
            'nvidia-cuda-runtime==13.0.*' nvidia-curand
    fi
    home=$(dirname "$(dirname "$(find "$venv" -name nvcc -type f | head -n 1)")")
    export CUDA_HOME=$home NVCC=$home/bin/nvcc PATH=$home/bin:$PATH
else
    bin=$(realpath "$target")/stand-in/bin
    mkdir -p "$bin"
    cat >"$bin/nvcc" <<'STANDIN'
#!/usr/bin/env bash
# Answers as a compiler would, and writes empty kernels.
case " $* " in
*" --version "*)
    echo "nvcc: NVIDIA (R) Cuda compiler driver"
    echo "Cuda compilation tools, release 13.0, V13.0.48"
    exit 0
    ;;
*" --list-gpu-code "*)
    printf 'sm_75\nsm_80\nsm_86\nsm_89\nsm_90\n'
    exit 0
    ;;
esac
out=
sources=()
while [ $# -gt 0 ]; do
    case $1 in
    -o | --output-file) out=$2; shift ;;
    --output-directory) out_dir=$2; shift ;;
    *.cu) sources+=("$1") ;;
    esac
    shift
done
if [ -n "$out" ]; then
    : >"$out"
fi
for source in "${sources[@]}"; do
    if [ -n "${out_dir:-}" ]; then
        : >"$out_dir/$(basename "${source%.cu}").ptx"
    fi
done
STANDIN
    chmod +x "$bin/nvcc"
    export CUDA_HOME=${bin%/bin} NVCC=$bin/nvcc PATH=$bin:$PATH
fi
export CUDA_COMPUTE_CAP=80 CUDARC_CUDA_VERSION=13000
cargo check --release --features cuda --target-dir "$target"
echo "the program type-checks with the feature cuda"
