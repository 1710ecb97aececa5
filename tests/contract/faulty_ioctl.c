/* ioctl(2) of a native core that is tested: one call fails, as a test has said. */
#include <errno.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned long faulty_request;
static int faulty_left = -1, faulty_error;

/* The call number PLACE of REQUEST, from 0 on, fails with ERROR; a negative PLACE: none does. */
void fail(unsigned long request, int place, int error)
{
    faulty_left = -1;
    faulty_request = request;
    faulty_error = error;
    faulty_left = place;
}

/* Return 1 once the call has failed. */
int has_failed(void)
{
    return faulty_left < 0;
}

int faulty_ioctl(int fd, unsigned long request, ...)
{
    va_list rest;
    void *argument;

    va_start(rest, request);
    argument = va_arg(rest, void *);
    va_end(rest);
    if (faulty_left >= 0 && request == faulty_request && !faulty_left--) {
        errno = faulty_error;
        return -1;
    }
    return syscall(SYS_ioctl, fd, request, argument);
}
