#!/bin/bash
# A Slurm cluster of one node on this machine, for tests. It needs the Debian packages slurmctld, slurmd and munge.
#
#     tests/cluster/slurm.sh start FOLDER    writes FOLDER/slurm.conf and starts munged, slurmctld and slurmd
#     tests/cluster/slurm.sh stop FOLDER     ends them
#
# Jobs are then submitted with SLURM_CONF=FOLDER/slurm.conf. Nothing outside FOLDER is written; ports are FIRST_PORT and
# the one after it (default 16817).
set -euo pipefail

command=${1:?start or stop}
mkdir -p -- "${2:?a folder}"
folder=$(cd -- "$2" && pwd)
port=${FIRST_PORT:-16817}
export SLURM_CONF=$folder/slurm.conf

start() {
    local host cores
    host=$(hostname -s)
    cores=${CORES:-$(nproc)}
    mkdir -p "$folder"/{state,spool,logs,munge}
    chmod 0755 "$folder" "$folder/munge"
    head -c 1024 /dev/urandom > "$folder/munge/key"
    chmod 0400 "$folder/munge/key"
    cat > "$SLURM_CONF" <<EOF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/logs/slurmctld.log
SlurmdLogFile=$folder/logs/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,sched_min_interval=0
ReturnToService=2
MinJobAge=3600
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/logs/jobs.txt
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
EOF
    PATH=$PATH:/usr/sbin
    munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/logs/munged.log" --seed-file="$folder/munge/seed"
    slurmctld -f "$SLURM_CONF" -c
    slurmd -f "$SLURM_CONF" -N "$host"
    for _ in $(seq 100); do
        if sinfo --noheader --format=%t 2> /dev/null | grep -qx idle; then
            sinfo
            return
        fi
        sleep 0.2
    done
    echo "the node does not become idle: see $folder/logs" >&2
    tail -n 5 "$folder"/logs/*.log >&2
    stop
    exit 1
}

stop() {
    local daemon pid
    for daemon in slurmd slurmctld munged; do
        if [[ -s $folder/$daemon.pid ]]; then
            pid=$(cat "$folder/$daemon.pid")
            kill "$pid" 2> /dev/null || true
            for _ in $(seq 100); do
                kill -0 "$pid" 2> /dev/null || break
                sleep 0.1
            done
        fi
    done
}

"$command"
