/* Executes a program so that no SIGTERM is lost while it starts as process 1 of a container.
 *
 * The kernel drops a signal that process 1 has no handler for, unless it is blocked. netbond unblocks it once it
 * has a handler; Python takes a moment until then.
 *
 * usage: netbond-start PROGRAM [ARGUMENT...]
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(int count, char **words)
{
	sigset_t term;

	if (count < 2) {
		fputs("usage: netbond-start PROGRAM [ARGUMENT...]\n", stderr);
		return 64;
	}
	if (getpid() == 1) { /* else the container has an init, or shares its processes */
		sigemptyset(&term);
		sigaddset(&term, SIGTERM);
		sigprocmask(SIG_BLOCK, &term, NULL);
	}
	execv(words[1], words + 1);
	perror(words[1]);
	return 127;
}
