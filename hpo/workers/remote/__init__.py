"""Workers on other machines, behind one executor whatever starts them (Ray, Slurm).

    driver: RemotePool ── Dispatcher ── Fleet ──(Ray calls, sockets)──► host ──► worker process

A *host* is a long-lived process on some machine of the cluster (`host`). It supervises one worker
process by the pool that also runs jobs on this machine, so a job that raises, hangs, crashes or
runs out of memory fails there as it does here. A *fleet* starts and reaches hosts (`fleet`). The
dispatcher (`dispatcher`) sends jobs to hosts, replaces hosts that are lost, and lets another host
run what these were running.
"""
