@echo off
rem Installs the course from this folder, without a network: install.bat [FOLDER]
set "COURSE_PYTHON=python"
py -@PYTHON@ -c "" >nul 2>nul && set "COURSE_PYTHON=py -@PYTHON@"
%COURSE_PYTHON% "%~dp0install.py" %*
set "COURSE_RESULT=%errorlevel%"
if "%COURSE_RESULT%"=="9009" echo Python @PYTHON@ was not found. Install @LEAST@ or newer, 64 bit, then run this again.
pause
exit /b %COURSE_RESULT%
