/* Says whose process it is, and with whose rights. */

#include <stdio.h>
#include <unistd.h>

int main(void)
{
    printf("%d %d\n", (int)getuid(), (int)geteuid());
}
