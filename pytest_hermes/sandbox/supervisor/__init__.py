"""The processes that run the commands of local sandboxes.

They are no part of pytest's process: a bare interpreter executes the modules of this folder, alone, with the standard
library only; see launch.py. There are three kinds of them, each a fork of the one before. The client has a socket to
each, and asks for something by a letter with descriptors attached:

    fork server   forks supervisors of sandboxes that are not isolated. `F`: attached are the socket of the new one,
                  what takes its complaints, and a file with the path of the sandbox's folder
    supervisor    of one sandbox, which says its process id, in 4 bytes, when it is ready. It forks subreapers. `F`:
                  attached are the socket of the new one and the stderr of its first command. `P`: a private one, for
                  one command; a description (marshal) of its private folders is attached too. `K`: it kills all that
                  runs in the sandbox, then says on the attached socket, in a byte, whether all of it has gone. `W`: it
                  ends when the attached process (a pidfd) has
    subreaper     runs one command after another. Attached are a description (marshal), stdout, stderr and perhaps
                  stdin. `E`: the description is argv, environment and folder of a program. `A`: it is a path, of which
                  a tar is written to stdout, and how many bytes its files may have. It answers by frames of 2 bytes,
                  letter and status: `B`, it has the command; `S`, that is started; `X`, its leader has ended with this
                  exit code; `G`, nothing of it is left. `N` in place of `S` and all that follows: there can be no more
                  processes; the status is 1 where the sandbox itself runs as many as it may

A subreaper adopts whatever its command leaves behind, so that "kill the command" means "kill all descendants of its
subreaper", whatever sessions they made for themselves. One that has no descendants left may be given another command:
forking one costs as much as starting bash.

At the end of its socket a subreaper kills what is left of its command, and a supervisor all that is left, and empties
the sandbox's folder.

None of them can be traced or read by the commands that they run. An isolated supervisor is the init of its sandbox,
which nothing in it can kill. A subreaper can be killed, by the same user: that is the end of its command.
"""
