"""All checks, by the number of their lesson."""

from course_lib.checks import lesson1, lesson2, lesson3, lesson4, lesson5, lesson6, lesson7

LESSONS = {
    1: lesson1,
    2: lesson2,
    3: lesson3,
    4: lesson4,
    5: lesson5,
    6: lesson6,
    7: lesson7,
}
